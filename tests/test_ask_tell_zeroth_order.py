"""One generation of each zeroth-order method against its equation, computed with dense directions."""

import math

import pytest
import torch as th

from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.optimizers.ars import best_directions
from lm_gym.agents.search.optimizers.ascent import Anchor, Ascent
from lm_gym.agents.search.optimizers.cr_fm_nes import inverse_h
from lm_gym.agents.search.optimizers.fzoo import RademacherNoise
from lm_gym.agents.search.optimizers.lozo import LazyNoise
from lm_gym.agents.search.optimizers.subzero import SubspaceNoise
from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise

BLOCKS = (Block("matrix", (4, 3), 0.5), Block("vector", (5,), 0.1))
CPU = th.device("cpu")
NAN = math.nan


def make(name, **options):
    return OPTIMIZERS[name]([th.ones(block.shape) for block in BLOCKS], BLOCKS, **options)


def moved(optimizer):
    """Return the displacement of the centre from its start, in natural steps."""
    return th.cat([((x - 1) / b.scale).flatten() for x, b in zip(optimizer.centre, BLOCKS, strict=True)])


def told(optimizer, fitness):
    """Ask for a generation, tell its fitness, and return its directions [P, d], with 0 for the centre."""
    directions = optimizer.ask().vectors() / optimizer.sigma
    optimizer.tell(th.tensor(fitness))
    return directions


@pytest.mark.parametrize("rank", [None, 1])
def test_fzoo_steps_in_units_of_the_deviation(rank):
    optimizer = make("fzoo", popsize=6, directions=2, sigma=0.5, learning_rate=0.1, rank=rank)
    u = told(optimizer, [1.0, 3.0, 2.0, NAN, 9.0, 9.0])  # the second batch lacks its centre
    assert set(u[0].tolist()) == {0.0}
    assert set(u[1].tolist()) == {-1.0, 1.0}
    deviation = math.sqrt(0.5)  # of 3 and 2
    assert th.allclose(moved(optimizer), 0.1 / 2 * (2 * u[1] + 1 * u[2]) / deviation, atol=1e-5)
    assert optimizer.logs()["deviation"] == pytest.approx(deviation)


def test_fzoo_is_the_same_in_any_unit_of_fitness():
    one, thousand = (make("fzoo", sigma=0.5) for _ in range(2))
    fitness = [0.1, 0.3, -0.2, 0.5, 0.0, 0.1, 0.2, -0.4, 0.3]
    told(one, fitness)
    told(thousand, [1000 * f + 7 for f in fitness])
    assert th.allclose(moved(one), moved(thousand), atol=1e-4)
    assert moved(one).norm() > 0


@pytest.mark.parametrize("name", ["mezo", "zo_sgd", "lozo", "subzero"])
def test_adaptive_slopes_are_the_same_in_any_unit_of_fitness(name):
    one, thousand = (make(name, sigma=0.5, popsize=4, adaptive=True) for _ in range(2))
    for fitness in ([0.1, 0.3, -0.2, 0.5], [0.0, 0.1, 0.2, NAN]):
        told(one, fitness)
        told(thousand, [1000 * f for f in fitness])
    assert th.allclose(moved(one), moved(thousand), atol=1e-4)
    assert moved(one).norm() > 0


def test_adaptive_slopes_by_hand():
    optimizer = make("mezo", sigma=0.5, popsize=4, adaptive=True, learning_rate=0.1)
    z = told(optimizer, [3.0, 1.0, 0.0, 1.0])  # slopes 2 and −1: their mean square is 2.5
    assert th.allclose(moved(optimizer), 0.1 / 2 * (2 * z[0] - z[2]) / math.sqrt(2.5), atol=1e-4)
    before = moved(optimizer)
    z = told(optimizer, [4.0, 0.0, 4.0, 0.0])  # slopes 4: (0.9 · 0.1 · 2.5 + 0.1 · 16)/(1 − 0.9²)
    size = math.sqrt((0.09 * 2.5 + 0.1 * 16) / 0.19)
    assert th.allclose(moved(optimizer) - before, 0.1 / 2 * 4 * (z[0] + z[2]) / size, atol=1e-4)


def test_scaling_by_the_root_keeps_the_step_as_members_grow():
    steps = []
    for scaling in ("mean", "root"):
        for name in ("mezo", "low_rank_es"):
            optimizer = make(name, sigma=0.5, popsize=8, learning_rate=0.01, scaling=scaling)
            told(optimizer, [1.0, 0.0, 2.0, 1.0, 0.0, 3.0, 1.0, 1.0])
            steps.append(moved(optimizer))
    assert th.allclose(steps[2], steps[0] * 2, atol=1e-5)  # √(P/2) probes
    assert th.allclose(steps[3], steps[1] * math.sqrt(8), atol=1e-5)


@pytest.mark.parametrize("name", ["low_rank_es", "mezo", "zo_sgd", "fzoo", "lozo", "subzero", "hizoo"])
def test_decay_goes_back_to_the_start(name):
    optimizer = make(name, weight_decay=0.25)
    for tensor in optimizer.centre:
        tensor.add_(4.0)
    optimizer.tell(th.zeros(optimizer.popsize))
    assert all(th.allclose(x, th.full_like(x, 4.0)) for x in optimizer.centre)


def test_anchor_refuses_what_is_no_share_and_keeps_nothing_for_none():
    assert Anchor(0.0, [th.zeros(3)]).start == []
    with pytest.raises(ValueError, match="weight_decay=1"):
        Anchor(1.0, [th.zeros(3)])


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("sgd", 0.2, 0.2 - 0.4),
        ("sign", 0.1, 0.0),
        ("momentum", 0.1 * 0.2, 0.1 * (0.2 + 0.9 * 0.2 - 0.1 * 4)),
        ("adam", 0.1, 0.1 + 0.1 * (0.18 - 0.4) / 0.19 / math.sqrt((0.999 * 0.004 + 0.016) / (1 - 0.999**2))),
        ("r_adazo", 0.1 / 0.1, None),
    ],
)
def test_two_steps_of_each_rule_by_hand(rule, first, second):
    """Gradients 2 and −4, learning rate 0.1."""
    x, ascent = th.zeros(1, dtype=th.float64), Ascent(rule, 0.1, [th.zeros(1, dtype=th.float64)])
    ascent.step(0, x, th.tensor([2.0], dtype=th.float64), 1)
    if rule == "r_adazo":  # m = 0.2, v = 0.001 · 0.2²; m̂ = 2, v̂ = 0.2²: ten times Adam's step
        assert x.item() == pytest.approx(first, rel=1e-4)
        ascent.step(0, x, th.tensor([-4.0], dtype=th.float64), 2)
        m = 0.9 * 0.2 - 0.4
        v = (0.999 * 0.001 * 0.04 + 0.001 * m * m) / (1 - 0.999**2)
        assert x.item() == pytest.approx(first + 0.1 * m / 0.19 / math.sqrt(v), rel=1e-4)
        return
    assert x.item() == pytest.approx(first, rel=1e-4)
    ascent.step(0, x, th.tensor([-4.0], dtype=th.float64), 2)
    assert x.item() == pytest.approx(second, rel=1e-4, abs=1e-9)


def test_lozo_by_its_equation_with_momentum_through_a_change_of_columns():
    optimizer = make("lozo", popsize=4, rank=2, interval=2, momentum=0.5, sigma=0.5, learning_rate=0.1, adaptive=False)
    matrix, expected = BLOCKS[0], th.zeros(4, 3)
    moment, before = th.zeros(4, 2), None
    for generation in range(4):
        noise = LazyNoise(0, generation, 2, 2)
        U, V = noise.low_rank(0, matrix, 2, CPU)
        assert th.equal(V[0], V[1])
        if before is not None and generation == 2:
            assert not th.equal(V[0], before)
            moment = moment @ before.T @ V[0] / 3
        elif before is not None:
            assert th.equal(V[0], before) == (generation != 2)
        optimizer.tell(th.tensor([3.0, 1.0, 0.0, 1.0]))  # slopes 2 and −1
        moment = 0.5 * moment + 0.5 * (2 * U[0] - U[1]) / 2
        expected, before = expected + 0.1 * moment @ V[0].T, V[0]
        assert th.allclose((optimizer.centre[0] - 1) / matrix.scale, expected, atol=1e-5)


def test_subzero_moves_within_the_spaces_that_it_keeps():
    noise = [SubspaceNoise(0, generation, 2, 10) for generation in (0, 9, 10)]
    drawn = [th.stack([each.dense(0, Block("m", (40, 30)), d, 300, CPU) for d in (0, 1)]) for each in noise]
    together = th.cat([drawn[0], drawn[1]]).view(-1, 30)
    assert th.linalg.matrix_rank(together, rtol=1e-4) == 2  # of all four directions
    assert th.linalg.matrix_rank(th.cat([*drawn]).view(-1, 30), rtol=1e-4) == 4
    A, B = noise[0].low_rank(0, Block("m", (40, 30)), 3000, CPU)
    assert (A @ B.mT).square().mean().item() == pytest.approx(1, rel=0.1)
    assert SubspaceNoise(0, 0, 8).low_rank(0, Block("m", (40, 3)), 2, CPU)[0].shape == (2, 40, 3)


def test_subzero_by_its_equation():
    optimizer = make("subzero", popsize=4, rank=2, sigma=0.5, learning_rate=0.1, adaptive=False)
    z = told(optimizer, [3.0, 1.0, NAN, 2.0])
    assert th.allclose(moved(optimizer), 0.1 * 2 * z[0], atol=1e-5)


def test_hizoo_by_its_equations():
    optimizer = make("hizoo", popsize=6, sigma=0.5, learning_rate=0.1, smoothing=0.2)
    z = told(optimizer, [1.0, 3.0, 2.0, 0.0, NAN, 1.0])[1]
    H = 0.8 + 0.2 * (3 + 2 - 2) / (2 * 0.25) * z.square()
    assert th.allclose(th.cat([h.flatten() for h in optimizer.curvature]), H, atol=1e-5)
    assert th.allclose(moved(optimizer), 0.1 * (3 - 2) / (2 * 0.5) * z / H.sqrt(), atol=1e-5)
    shaped = told(optimizer, [0.0] * 6)  # and the next generation is drawn with it
    again = th.cat([Noise(0, 1, None).dense(i, block, 0, 2, CPU).flatten() for i, block in enumerate(BLOCKS)])
    assert th.allclose(shaped[1], again / H.sqrt(), atol=1e-5)


def test_pgpe_by_its_equations():
    optimizer = OPTIMIZERS["pgpe"](
        th.ones(3), popsize=4, sigma=0.5, learning_rate=0.1, std_learning_rate=0.05, rule="sgd"
    )
    z = (optimizer.ask().vectors()[[0, 2]] - 1) / 0.5
    optimizer.tell(th.tensor([4.0, 3.0, 1.0, 2.0]))  # centred ranks 1/2, 1/6, −1/2, −1/6
    assert th.allclose(optimizer.mean, 1 + 0.1 / 2 * (z[0] - z[1]) / 6, atol=1e-6)
    grown = 0.05 / 2 * ((z[0].square() - 1) / 3 - (z[1].square() - 1) / 3)
    assert th.allclose(optimizer.std, 0.5 * (1 + grown), atol=1e-6)


def test_ars_by_its_equation():
    optimizer = OPTIMIZERS["ars"](th.ones(3), popsize=6, sigma=0.5, learning_rate=0.1, top=0.5)
    z = (optimizer.ask().vectors()[0::2] - 1) / 0.5
    optimizer.tell(th.tensor([1.0, 0.0, 2.0, 5.0, 3.0, 2.0]))  # the best two directions are the last two
    deviation = math.sqrt(sum((f - 3) ** 2 for f in (2, 5, 3, 2)) / 4)
    assert th.allclose(optimizer.mean, 1 + 0.1 / (2 * deviation) * (-3 * z[1] + z[2]), atol=1e-5)


def test_directions_that_tie_and_fail_in_ars():
    gains, deviation = best_directions(th.tensor([1.0, 0.0, 1.0, 0.5, -th.inf, 9.0, 0.0, 0.0]), 1)
    assert gains.tolist() == [0.5, 0.25, 0.0, 0.0]  # the first two tie at 1
    assert deviation == pytest.approx(th.tensor([1.0, 0.0, 1.0, 0.5]).std(correction=0).item())
    assert best_directions(th.full((4,), -th.inf), 1)[1] == 0.0


def test_cr_fm_nes_learns_a_long_axis_that_no_coordinate_follows():
    """SNES, whose axes are the coordinates, does not."""
    d = 20
    axis = th.ones(d, dtype=th.float64) / math.sqrt(d)
    left = {}
    for name in ("cr_fm_nes", "snes"):
        optimizer = OPTIMIZERS[name](th.full((d,), 1.0, dtype=th.float64), popsize=16, sigma=0.5)
        for _ in range(200):
            x = optimizer.ask().vectors()
            along = x @ axis
            optimizer.tell(-(x.square().sum(1) - along**2) * 100 - along**2)
        left[name] = (optimizer.centre @ axis).abs().item()
    assert left["cr_fm_nes"] < 1e-3 < left["snes"]
    a = inverse_h(20)
    assert (1 + a * a) * math.exp(a * a / 2) / 0.24 == pytest.approx(30)


def test_rademacher_noise_is_of_signs_in_every_form():
    for rank in (None, 1):
        noise = RademacherNoise(0, 0, rank)
        for index, block in enumerate(BLOCKS):
            assert set(noise.dense(index, block, 1, 2, CPU).unique().tolist()) == {-1.0, 1.0}
    both = th.stack([RademacherNoise(0, 0, None).dense(0, Block("m", (200, 50)), d, 2, CPU) for d in (0, 1)])
    assert abs(both.mean().item()) < 0.03
