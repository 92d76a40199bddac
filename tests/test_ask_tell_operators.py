"""Shaping, selection, crossover, mutation and acceptance against hand-computed numbers."""

import math

import numpy as np
import pytest
import torch as th

from lm_gym.agents.search.optimizers import operators
from lm_gym.agents.search.optimizers.sa import COOLINGS, accepted
from lm_gym.agents.search.optimizers.shaping import by_rank, centred_ranks, z_scores
from lm_gym.agents.search.optimizers.snes import utilities
from lm_gym.agents.search.population.domain import Domain

SCORES = np.array([3.0, 1.0, 1.0, 2.0])
FITNESS = th.tensor(SCORES)
DRAWS = 20_000


def generator(seed=0):
    return th.Generator().manual_seed(seed)


def shares(indices, n):
    return (th.bincount(indices, minlength=n) / len(indices)).tolist()


def test_centred_ranks_average_ties():
    assert centred_ranks(SCORES).tolist() == pytest.approx([0.5, -1 / 3, -1 / 3, 1 / 6])
    assert centred_ranks(np.full(5, 0.1)).tolist() == [0] * 5
    assert centred_ranks(np.array([-np.inf, 0, -np.inf])).tolist() == [-0.25, 0.5, -0.25]
    assert centred_ranks(np.array([7.0])).tolist() == [0]


def test_worth_by_rank_averages_ties():
    worth = np.array([0.0, 1.0, 2.0, 6.0])  # worst first
    assert by_rank(SCORES, worth).tolist() == pytest.approx([6, 0.5, 0.5, 2])
    assert by_rank(np.zeros(4), worth).tolist() == pytest.approx([2.25] * 4)


def test_z_scores_by_hand():
    assert z_scores(np.array([1.0, 3.0])).tolist() == pytest.approx([-1, 1])
    assert z_scores(np.full(3, 0.1)).tolist() == [0, 0, 0]
    # 1 and 3 succeeded, with a standard deviation of 1, so the failed one counts as 0: mean 4/3, variance 14/9
    failed = z_scores(np.array([1.0, 3.0, -np.inf]))
    assert failed.tolist() == pytest.approx([x / math.sqrt(14 / 9) for x in (-1 / 3, 5 / 3, -4 / 3)])
    assert z_scores(np.array([5.0, -np.inf])).tolist() == pytest.approx([1, -1])


def test_utilities_of_snes_by_hand():
    found = utilities(4)  # ln 3 − ln(1, 2) = 1.0986, 0.4055, then 0: shares 0.7304, 0.2696
    assert found.tolist() == pytest.approx([-0.25, -0.25, 0.0196, 0.4804], abs=1e-4)
    assert found.sum() == pytest.approx(0, abs=1e-15)


def test_roulette_is_proportional_to_what_is_above_the_worst():
    found = shares(operators.roulette(th.tensor([3.0, 1.0, -th.inf, 2.0]), DRAWS, generator()), 4)
    assert found == pytest.approx([2 / 3, 0, 0, 1 / 3], abs=0.02)
    alike = shares(operators.roulette(th.tensor([1.0, 1.0, -th.inf]), DRAWS, generator()), 3)
    assert alike == pytest.approx([0.5, 0.5, 0], abs=0.02)
    failed = shares(operators.roulette(th.full((2,), -th.inf), DRAWS, generator()), 2)
    assert failed == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_tournament_of_two_draws_the_kth_best_with_its_share():
    # P(the best of two draws is member k of n, from the worst) = (2k − 1)/n²
    found = shares(operators.tournament(th.tensor([0.0, 1.0, 2.0, -th.inf]), DRAWS, generator(), size=2), 4)
    assert found == pytest.approx([3 / 16, 5 / 16, 7 / 16, 1 / 16], abs=0.02)


def test_linear_ranking_by_hand():
    found = shares(operators.rank(FITNESS, DRAWS, generator(), pressure=2.0), 4)  # weights 2, 1/3, 1/3, 4/3
    assert found == pytest.approx([1 / 2, 1 / 12, 1 / 12, 1 / 3], abs=0.02)


def test_truncation_draws_the_best_share_alike():
    assert shares(operators.truncation(FITNESS, DRAWS, generator(), 0.5), 4) == pytest.approx(
        [0.5, 0, 0, 0.5], abs=0.02
    )


A, B = th.zeros(2000, 6), th.ones(2000, 6)


def test_single_point_crossover_takes_a_prefix_of_the_first_parent():
    children = operators.single_point(A, B, generator())
    assert (children.diff(dim=1) >= 0).all()  # zeros, then ones
    assert sorted(set(children.sum(1).tolist())) == [1, 2, 3, 4, 5]


def test_two_point_crossover_takes_a_stretch_of_the_second_parent():
    children = operators.two_point(A, B, generator())
    edges = th.nn.functional.pad(children, (1, 1)).diff(dim=1).abs().sum(1)
    assert (edges == 2).all()
    assert sorted(set(children.sum(1).tolist())) == [1, 2, 3, 4, 5, 6]


def test_uniform_crossover_takes_half_of_each():
    children = operators.uniform(A, B, generator())
    assert children.mean().item() == pytest.approx(0.5, abs=0.02)


def test_sbx_keeps_the_mean_and_the_distribution_of_beta():
    children = operators.sbx(A, B, generator(), eta=1.0)
    assert children.mean().item() == pytest.approx(0.5, abs=0.02)
    # |2c − 1| = β: half of them below 1 (u ≤ 1/2), and P(β ≤ 1/2) = P(u ≤ 1/8) with η = 1
    beta = (2 * children - 1).abs()
    assert (beta < 1).double().mean().item() == pytest.approx(1 / 2, abs=0.02)
    assert (beta <= 0.5).double().mean().item() == pytest.approx(1 / 8, abs=0.02)
    assert th.allclose(operators.sbx(B, B, generator()), B)


@pytest.mark.parametrize("rate", [0.0, 0.003, 0.2, 0.9, 1.0])
def test_trials_succeed_with_their_rate_and_independently(rate):
    drawn = operators._chance((400, 500), rate, generator()).double()
    error = 5 * math.sqrt(rate * (1 - rate) / drawn.numel())
    assert drawn.mean().item() == pytest.approx(rate, abs=error)
    assert drawn[:, -1].mean().item() == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / 400))
    both = (drawn[:, 1:] * drawn[:, :-1]).mean().item()
    assert both == pytest.approx(rate**2, abs=5 * math.sqrt(rate**2 * (1 - rate**2) / drawn.numel()) + error / 10)


def test_coins_are_fair_and_independent():
    drawn = operators._coins((400, 501), generator()).double()
    assert drawn.mean(0).sub(0.5).abs().max().item() < 0.15
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    for lag in (1, 8, 64):
        assert (drawn[:, lag:] * drawn[:, :-lag]).mean().item() == pytest.approx(0.25, abs=0.01)


def test_mutations_change_their_share():
    bits = operators.bit_flip(th.zeros(2000, 6, dtype=th.bool), 0.25, generator())
    assert bits.double().mean().item() == pytest.approx(0.25, abs=0.02)
    tokens = operators.resample(th.full((2000, 6), 2), 0.3, 4, generator())
    values = (th.bincount(tokens.flatten(), minlength=4) / tokens.numel()).tolist()
    assert values == pytest.approx([0.1, 0.1, 0.7, 0.1], abs=0.02)
    assert int(tokens.max()) == 3
    genes = operators.gaussian(th.zeros(2000, 6), 0.5, 3.0, generator())
    moved = genes[genes != 0]
    assert len(moved) / genes.numel() == pytest.approx(0.5, abs=0.02)
    assert moved.std().item() == pytest.approx(3.0, abs=0.1)
    fine = operators.gaussian(th.zeros(2000, 6), 1.0, 3.0, generator(), decades=2.0)
    # E s² = 9 ∫ 10^(−4u) du = 9 (1 − 1e-4)/(4 ln 10)
    assert fine.square().mean().item() == pytest.approx(9 * 0.9999 / (4 * math.log(10)), rel=0.1)


def test_scatter_keeps_the_start_and_spreads_around_it():
    real = operators.scatter(th.full((3,), 5.0), Domain("real", 3), 2000, 2.0, generator())
    assert real[0].tolist() == [5, 5, 5]
    assert real.min().item() == pytest.approx(3, abs=0.02)
    assert real.max().item() == pytest.approx(7, abs=0.02)
    tokens = operators.scatter(th.zeros(3, dtype=th.int64), Domain("categorical", 3, 4), 2000, 0.4, generator())
    assert tokens[0].tolist() == [0, 0, 0]
    assert (tokens != 0).double().mean().item() == pytest.approx(0.3, abs=0.02)  # 0.4, of which a quarter is 0 again


def test_diversity_by_hand():
    assert operators.diversity(th.tensor([[0.0, 1.0], [2.0, 1.0]])) == 0.5
    assert operators.diversity(th.tensor([[True, False], [False, False]])) == 0.25


def test_metropolis_by_hand():
    gain = th.tensor([1.0, 0.0, -1.0, -1.0, -th.inf, -1.0], dtype=th.float64)
    temperature = th.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], dtype=th.float64)
    u = th.tensor([0.999, 0.999, 0.367, 0.368, 0.0, 0.0], dtype=th.float64)  # e⁻¹ = 0.36788
    assert accepted(gain, temperature, u).tolist() == [True, True, True, False, False, False]
    assert accepted(th.zeros(1), th.zeros(1), th.ones(1)).tolist() == [True]


def test_coolings_by_hand():
    age = th.tensor([0.0, 2.0])
    assert COOLINGS["geometric"](age, 0.95).tolist() == pytest.approx([1, 0.9025])
    assert COOLINGS["linear"](age, 0.95).tolist() == pytest.approx([1, 0.9])
    assert COOLINGS["logarithmic"](age, 0.95).tolist() == pytest.approx([1, 1 / math.log(math.e + 2)])
