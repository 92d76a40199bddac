"""One generation of each optimizer against its equation, and the special features of single optimizers."""

import math
import warnings

import numpy as np
import pytest
import torch as th

from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.optimizers.cma_es import cma  # without its warning about a missing matplotlib
from lm_gym.agents.search.optimizers.de import DE
from lm_gym.agents.search.optimizers.estimate import combined
from lm_gym.agents.search.optimizers.low_rank_es import LowRankES
from lm_gym.agents.search.optimizers.mezo import MeZO
from lm_gym.agents.search.optimizers.pso import PSO, accelerations, evolutionary_factor, ring
from lm_gym.agents.search.population.domain import Block, Domain
from lm_gym.agents.search.population.noise import Noise

BLOCKS = (Block("matrix", (4, 3), 0.5), Block("vector", (5,), 0.1))


def tensors():
    return [th.ones(block.shape) for block in BLOCKS]


def told(optimizer, fitness):
    """Ask for a generation, tell its fitness, and return its members [P, d]."""
    members = optimizer.ask().vectors().clone()
    optimizer.tell(th.tensor(fitness))
    return members


def test_es_climbs_the_estimated_gradient():
    optimizer = OPTIMIZERS["es"](th.ones(3), popsize=4, sigma=0.5, learning_rate=0.1, rule="sgd")
    members = told(optimizer, [3.0, 1.0, 2.0, 2.0])  # centred ranks 1/2, −1/2, 0, 0
    assert th.allclose(members[0] + members[1], th.full((3,), 2.0))
    noise = (members[0] - 1) / 0.5
    assert th.allclose(optimizer.centre, 1 + 0.1 * noise / (4 * 0.5), atol=1e-6)


def test_the_first_step_of_adam_is_the_learning_rate():
    optimizer = OPTIMIZERS["es"](th.zeros(3), popsize=4, sigma=0.5, learning_rate=0.1)
    told(optimizer, [3.0, 1.0, 2.0, 2.0])
    assert th.allclose(optimizer.centre.abs(), th.full((3,), 0.1), rtol=1e-4)


def test_the_average_of_es_is_that_of_its_means():
    optimizer = OPTIMIZERS["es"](th.zeros(2), popsize=2, averaging=0.5)
    means = []
    for _ in range(2):
        told(optimizer, [1.0, 0.0])
        means.append(optimizer.mean.clone())
    assert th.allclose(optimizer.centre, (means[0] + means[1]) / 2)


def test_snes_by_its_equations():
    optimizer = OPTIMIZERS["snes"](th.ones(2), popsize=4, sigma=2.0, learning_rate=0.6)
    members = told(optimizer, [4.0, 3.0, 2.0, 1.0])
    s = (members - 1) / 2
    u = th.tensor([0.4804, 0.0196, -0.25, -0.25])[:, None]
    assert th.allclose(optimizer.mean, 1 + 2 * (u * s).sum(0), atol=1e-3)
    assert th.allclose(optimizer.std, 2 * (0.3 * (u * (s**2 - 1)).sum(0)).exp(), atol=1e-3)


def test_separable_cma_moves_to_the_weighted_mean_and_learns_the_axes():
    optimizer = OPTIMIZERS["sep_cma_es"](th.zeros(2), popsize=4, sigma=1.0)
    members = told(optimizer, [4.0, 3.0, 2.0, 1.0])
    best = math.log(2.5) / (math.log(2.5) + math.log(1.25))  # 0.8042
    assert th.allclose(optimizer.mean, best * members[0] + (1 - best) * members[1], atol=1e-5)
    weights = th.tensor([1.0, 1e4])
    for _ in range(150):
        optimizer.tell(-(weights * optimizer.ask().vectors() ** 2).sum(1))
    assert 30 < (optimizer.variance[0] / optimizer.variance[1]).sqrt().item() < 300  # √1e4 = 100


def test_cma_is_told_what_it_drew_and_equals_the_package():
    ours, seen = OPTIMIZERS["cma_es"](th.zeros(5), seed=0, popsize=8), []
    for _ in range(20):
        population = ours.ask()
        assert population.noise.dtype == th.float64
        seen.append(population.noise.clone())
        ours.tell(-(population.vectors() - 1).square().sum(1))
    draws = iter(seen)
    theirs = cma.CMAEvolutionStrategy(np.zeros(5), 1.0, {"popsize": 8, "seed": math.nan, "verbose": -9, "verb_log": 0})
    for _ in range(20):
        theirs.ask()
        points = next(draws)
        costs = (points.float() - 1).square().sum(1).double()
        theirs.tell(list(points.numpy()), costs.tolist())
    assert np.allclose(theirs.mean, ours.strategy.mean, rtol=1e-9, atol=1e-9)


def test_cma_goes_on_after_flat_fitness():
    optimizer = OPTIMIZERS["cma_es"](th.zeros(5))
    for _ in range(100):
        optimizer.tell(th.zeros(optimizer.popsize))
    for _ in range(100):
        optimizer.tell(-(optimizer.ask().vectors() - 1).square().sum(1))
    assert th.allclose(optimizer.centre, th.ones(5), atol=1e-3)


def test_cma_refuses_what_is_too_large_and_names_what_is_not():
    with pytest.raises(ValueError, match=r"2,001 dimensions.*snes, sep_cma_es or es"):
        OPTIMIZERS["cma_es"](th.zeros(2001))


def test_a_state_of_cma_goes_on_where_two_point_adaptation_takes_over():
    """From 300 dimensions on, `cma` injects two members along the last step and uses numpy's global state."""
    start, target = th.zeros(300), th.linspace(-1, 1, 300)
    whole, states, members = OPTIMIZERS["cma_es"](start, popsize=12), [], []
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for generation in range(12):
        if generation % 4 == 0:
            states.append((generation, whole.state_dict()))
        members.append(whole.ask().vectors())
        if generation % 4 == 1:
            states.append((generation, whole.state_dict()))
        whole.tell(-(members[-1] - target).square().sum(1))
    assert (before == np.random.get_state()[1]).all()  # noqa: NPY002
    for first, state in states:
        resumed = OPTIMIZERS["cma_es"](start, popsize=12)
        resumed.load_state_dict(state)
        for generation in range(first, 12):
            assert th.equal(resumed.ask().vectors(), members[generation]), (first, generation)
            resumed.tell(-(members[generation] - target).square().sum(1))
        assert th.equal(resumed.centre, whole.centre)


@pytest.mark.parametrize("name", ["pso", "de"])
def test_swarms_and_differences_warn_where_they_are_weak(name):
    with pytest.warns(UserWarning, match="501 dimensions"):
        OPTIMIZERS[name](th.zeros(501))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OPTIMIZERS[name](th.zeros(500))


def test_separable_covariance_follows_its_equation():
    d, generation = 5, OPTIMIZERS["sep_cma_es"](th.zeros(5, dtype=th.float64), popsize=8, sigma=0.5, seed=3)
    z = generation.ask().noise.clone().numpy()
    fitness = np.array([3.0, -1, 7, 0, 2, 9, -4, 5])
    generation.tell(th.as_tensor(fitness))
    better, worse = generation.weights[fitness.argsort().argsort()].T
    w = better + worse * d / (z**2).sum(1)
    path = math.sqrt(generation.c_c * (2 - generation.c_c) * generation.mu) * (better @ z)  # y = z where C = 1
    kept = 1 - generation.c_1 - generation.c_mu * (better.sum() + worse.sum())
    expected = kept + generation.c_1 * path**2 + generation.c_mu * (w @ z**2)
    assert generation.variance.numpy() == pytest.approx(expected)
    assert generation.mean.numpy() == pytest.approx(0.5 * (better @ z))


@pytest.mark.parametrize(("d", "doubt"), [(100, 1 / 100), (2, 0.1192), (10_000, 0.00247)])
def test_the_surest_bit_of_a_swarm_still_flips(d, doubt):
    """The interval is d, within the limits of 2 and 6."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        swarm = PSO(th.zeros(d, dtype=th.bool), Domain("binary", d, 2), popsize=4)
    assert 1 - 1 / (1 + math.exp(-swarm.limit)) == pytest.approx(doubt, rel=1e-2)


def test_a_particle_flies_by_its_equation():
    swarm = PSO(
        th.zeros(2), popsize=2, inertia="constant", weights=(0.5, 0.0, 2.0), velocity_limit=10, reevaluate=False
    )
    x, v = swarm.x.clone(), swarm.v.clone()
    swarm.tell(th.tensor([1.0, 0.0]))
    assert th.allclose(swarm.v[0], 0.5 * v[0])  # the leader itself: only inertia
    pull = (swarm.v[1] - 0.5 * v[1]) / (2 * (x[0] - x[1]))
    assert ((pull >= 0) & (pull < 1)).all()
    assert th.allclose(swarm.x, x + swarm.v)


def test_particles_stay_within_their_bound_and_stop_there():
    swarm = PSO(th.full((3,), 2.0), popsize=20, spread=1.0, bound=1.0, velocity_limit=5.0, reevaluate=False)
    for _ in range(10):
        swarm.tell(swarm.ask().vectors().sum(1))
        assert ((swarm.x - 2).abs() <= 1 + 1e-6).all()
    assert th.allclose(swarm.centre, th.full((3,), 3.0))


def test_what_steps_over_the_bound_of_de_comes_back_halfway_to_its_parent():
    given = {"popsize": 20, "spread": 1.0, "variant": "rand/1/bin", "F": 1.0, "CR": 1.0, "adaptive": False}
    free, bound = DE(th.zeros(5), **given), DE(th.zeros(5), **given, bound=1.0)
    parents, stepped = free.ask().vectors().chunk(2)
    over = stepped.abs() > 1
    assert 0.1 < over.double().mean() < 0.9
    expected = th.where(over, (stepped.clamp(-1, 1) + parents) / 2, stepped)
    assert th.allclose(bound.ask().vectors()[len(parents) :], expected)


def test_a_ring_follows_the_best_of_three():
    assert ring(th.tensor([5.0, 1.0, 2.0, 3.0, 4.0])).tolist() == [0, 0, 3, 4, 0]
    assert ring(th.zeros(4)).tolist() == [0, 1, 2, 3]


def test_the_evolutionary_factor_by_hand():
    x = th.tensor([[0.0], [1.0], [2.0], [7.0]])  # mean distances to all 4: 10/4, 8/4, 8/4, 18/4
    assert evolutionary_factor(x, 0) == pytest.approx((10 - 8) / (18 - 8))
    assert evolutionary_factor(x, 3) == pytest.approx(1.0)
    assert evolutionary_factor(x, 1) == pytest.approx(0.0)
    assert evolutionary_factor(th.zeros(3, 2), 0) == 0


def test_accelerations_by_hand():
    assert accelerations(2.0, 2.0, 0.9, 0.1) == pytest.approx((1.9, 2.1))  # jump out
    assert accelerations(2.0, 2.0, 0.6, 0.1) == pytest.approx((2.1, 1.9))  # explore
    assert accelerations(2.0, 2.0, 0.3, 0.1) == pytest.approx((2.05, 1.95))  # exploit
    assert accelerations(2.0, 2.0, 0.0, 0.1) == pytest.approx((2.0, 2.0))  # settle: 2.05 each, scaled to a sum of 4
    assert accelerations(1.5, 2.5, 0.9, 0.1) == pytest.approx((1.5, 2.5))


def test_a_trial_of_rand_1_bin_is_a_difference_added():
    search = DE(th.zeros(6), popsize=4, variant="rand/1/bin", adaptive=False, F=0.7, CR=1.0, reevaluate=False)
    told(search, [1.0, 2.0, 3.0, 4.0])
    parents = search.parents
    for i, trial in enumerate(search.ask().vectors()):
        a, b, c = (parents[k] for k in range(4) if k != i)
        orders = [(a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a)]
        assert any(th.allclose(trial, x + 0.7 * (y - z), atol=1e-6) for x, y, z in orders)


def test_a_trial_differs_in_one_entry_at_least_and_with_the_crossover_rate():
    search = DE(th.zeros(400), popsize=100, variant="best/1/bin", adaptive=False, CR=0.3, reevaluate=False)
    told(search, list(range(100)))
    changed = search.ask().vectors() != search.parents
    assert changed.double().mean().item() == pytest.approx(0.3, abs=0.02)
    search = DE(th.zeros(400), popsize=100, adaptive=False, CR=0.0, reevaluate=False)
    told(search, list(range(100)))
    assert (search.ask().vectors() != search.parents).sum(1).tolist() == [1] * 100


def test_jade_follows_what_succeeds():
    search = DE(th.zeros(2), popsize=8)
    search._follow(th.tensor([0.4, 0.8]), th.tensor([0.2, 0.4]))
    assert pytest.approx(0.9 * 0.5 + 0.1 * (0.16 + 0.64) / 1.2) == search.mean_F
    assert pytest.approx(0.9 * 0.5 + 0.1 * 0.3) == search.mean_CR


def test_the_steps_of_annealing_settle_at_a_fifth_accepted():
    search = OPTIMIZERS["sa"](th.zeros(3), popsize=2, step=0.5, temperature=0.0, reevaluate=False)
    told(search, [0.0, 0.0])
    before = search.step.clone()
    told(search, [1.0, -1.0])  # at temperature 0 the first is accepted and the second is not
    assert search.moved.tolist() == [True, False]
    assert th.allclose((search.step / before).log().squeeze(1), th.tensor([0.3 * 0.8, -0.3 * 0.2]), atol=1e-5)


def test_combined_noise_is_the_weighted_sum_of_each():
    weights = th.tensor([0.5, -2.0, 1.0])
    for rank in (1, 3, None):
        noise = Noise(0, 4, rank)
        for index, block in enumerate(BLOCKS):
            expected = sum(w * noise.dense(index, block, pair, 3, th.device("cpu")) for pair, w in enumerate(weights))
            assert th.allclose(combined(noise, index, block, weights), expected, atol=1e-5)


def test_low_rank_es_by_its_equation():
    optimizer = LowRankES(tensors(), BLOCKS, popsize=4, sigma=0.5, learning_rate=0.2)
    moved = optimizer.ask().vectors().clone()  # from the centre
    fitness = th.tensor([3.0, 1.0, 2.0, 2.0])  # z-scores √2, −√2, 0, 0
    optimizer.tell(fitness)
    noise = moved[0] / 0.5
    after = th.cat([(x - 1).flatten() / b.scale for x, b in zip(optimizer.centre, BLOCKS, strict=True)])
    assert th.allclose(after, 0.2 / 4 * 2 * math.sqrt(2) * noise, atol=1e-5)
    assert optimizer.logs()["gradient_norm"] == pytest.approx(2 * math.sqrt(2) / 4 * noise.norm().item(), rel=1e-5)


def test_mezo_by_its_equation():
    optimizer = MeZO(tensors(), BLOCKS, popsize=4, sigma=0.5, learning_rate=0.2)
    moved = optimizer.ask().vectors().clone()
    optimizer.tell(th.tensor([3.0, 1.0, math.nan, 2.0]))  # the second probe failed and is left out
    after = th.cat([(x - 1).flatten() / b.scale for x, b in zip(optimizer.centre, BLOCKS, strict=True)])
    assert th.allclose(after, 0.2 * (3 - 1) / (2 * 0.5) * moved[0] / 0.5, atol=1e-4)


@pytest.mark.parametrize("kind", [LowRankES, MeZO])
def test_the_learning_rate_decays_generation_by_generation(kind):
    steps = []
    for decay in (1.0, 0.5):
        optimizer = kind(tensors(), BLOCKS, popsize=2, sigma=0.5, learning_rate=1e-3, decay=decay)
        for _ in range(2):
            optimizer.ask()
            before = [x.clone() for x in optimizer.centre]
            optimizer.tell(th.tensor([3.0, 1.0]))
        steps.append(th.cat([(x - y).flatten() for x, y in zip(optimizer.centre, before, strict=True)]))
    assert th.allclose(steps[1], steps[0] / 2, atol=1e-6)
    with pytest.raises(ValueError, match="decay must be in"):
        kind(tensors(), BLOCKS, popsize=2, decay=0)


def test_the_optimizers_move_the_models_own_tensors():
    for kind in (LowRankES, MeZO):
        centre = tensors()
        optimizer = kind(centre, BLOCKS, popsize=2)
        optimizer.tell(th.tensor([1.0, 0.0]))
        assert all(mine is live for mine, live in zip(optimizer.centre, centre, strict=True))
        assert all((x != 1).any() for x in centre)


def test_random_search_believes_a_challenger_only_after_a_second_evaluation():
    optimizer = OPTIMIZERS["random_search"](th.zeros(2), popsize=4, seed=1)
    first = told(optimizer, [0.0, 0.0, 1.0, 3.0])
    assert optimizer.centre.tolist() == [0, 0]
    second = told(optimizer, [2.0, 1.0, 5.0, 4.0])  # the start is better than the challenger on these texts
    assert th.equal(second[0], th.zeros(2))
    assert th.equal(second[1], first[3])
    assert optimizer.centre.tolist() == [0, 0]
    third = told(optimizer, [1.0, 2.0, 0.0, 0.5])
    assert th.equal(third[1], second[2])
    assert th.equal(optimizer.centre, second[2])
    assert th.equal(optimizer.ask().vectors()[1], third[3])


def test_random_search_resumes_from_a_state_without_a_challenger():
    optimizer = OPTIMIZERS["random_search"](th.zeros(2), popsize=4)
    told(optimizer, [0.0, 0.0, 1.0, 3.0])
    state = optimizer.state_dict()
    del state["challenger"]
    resumed = OPTIMIZERS["random_search"](th.zeros(2), popsize=4)
    resumed.load_state_dict(state)
    assert th.equal(resumed.ask().vectors()[1], resumed.centre)
