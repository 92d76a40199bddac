"""Noise of populations: keyed by counters, distinct in every block, antithetic in pairs, drawn in parts."""

import pytest
import torch as th

from lm_gym.agents.search.population.domain import Block
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Perturbed

CPU = th.device("cpu")
MATRIX, VECTOR, TALL = Block("matrix", (6, 4)), Block("vector", (6,), 2.0), Block("tall", (5000, 16))


@pytest.mark.parametrize("rank", [1, 3, None])
def test_noise_is_a_function_of_its_counters_and_new_in_each(rank):
    blocks = (MATRIX, MATRIX, VECTOR, TALL)
    drawn = {
        (seed, generation, index, pair): Noise(seed, generation, rank).dense(index, block, pair, 2, CPU).flatten()[:6]
        for seed in (0, 1)
        for generation in (0, 1)
        for index, block in enumerate(blocks)
        for pair in (0, 1)
    }
    assert th.equal(drawn[1, 1, 2, 1], Noise(1, 1, rank).dense(2, VECTOR, 1, 2, CPU).flatten())
    assert len({tuple(values.tolist()) for values in drawn.values()}) == len(drawn)


@pytest.mark.parametrize("rank", [1, 3, None])
def test_noise_is_standard(rank):
    noise = Noise(0, 0, rank)
    matrix = th.stack([noise.dense(0, TALL, pair, 4, CPU) for pair in range(4)])
    assert abs(matrix.mean()) < 0.02
    assert abs(matrix.std() - 1) < 0.15  # the four sums of squares of low-rank factors vary independently


def test_slabs_make_the_whole_and_can_be_drawn_alone():
    noise = Noise(0, 0, None)
    pieces = list(noise.slabs(3, TALL, 1, CPU))
    assert [rows for rows, _ in pieces] == [slice(0, 2048), slice(2048, 4096), slice(4096, 5000)]
    assert th.equal(th.cat([z for _, z in pieces]), noise.dense(3, TALL, 1, 2, CPU))
    ((rows, alone),) = noise.slabs(3, TALL, 1, CPU, wanted={1})
    assert rows == slice(2048, 4096)
    assert th.equal(alone, pieces[1][1])


@pytest.mark.parametrize("rank", [1, None])
def test_perturbed_members_are_antithetic_around_the_live_centre(rank):
    centre = [th.ones(6, 4), th.zeros(6)]
    population = Perturbed(centre, (MATRIX, VECTOR), Noise(0, 0, rank), sigma=0.5, size=4)
    for index, block in enumerate(population.blocks):
        epsilon = population.noise.dense(index, block, 1, 2, CPU)
        assert th.allclose(population.tensor(index, 2), centre[index] + 0.5 * block.scale * epsilon)
        assert th.allclose(population.tensor(index, 3), centre[index] - 0.5 * block.scale * epsilon)
    vectors = population.vectors()
    assert vectors.shape == (4, 30)
    assert th.equal(vectors[0::2], -vectors[1::2])
    assert th.allclose(vectors[2, :24].view(6, 4) + centre[0], population.tensor(0, 2))
    centre[0] += 1
    assert th.allclose(population.tensor(0, 2) + population.tensor(0, 3), th.full((6, 4), 4.0), atol=1e-5)


def test_an_odd_population_is_refused():
    with pytest.raises(ValueError, match="popsize=3"):
        Perturbed([], (), Noise(0, 0), sigma=0.1, size=3)
