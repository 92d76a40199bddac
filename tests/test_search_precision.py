"""Forward passes of members in bfloat16 are close to float32 and leave the policy unchanged."""

import pytest
import torch as th
from policies import TAGS, V, make, observe
from test_search_spaces import build, same, vectors, weights

from lm_gym.agents.algorithms.presets import LowRankES
from lm_gym.agents.search.population.noise import Noise
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Dense
from lm_gym.agents.search.population.precision import Computing
from lm_gym.agents.search.spaces import SEARCH_SPACES
from tests.small import Stop, few_names, search_env
from tests.small import build as build_agent

POLICIES = [("bert", V), ("gpt2", len(TAGS))]


@pytest.fixture
def obs():
    return {key: th.as_tensor(value) for key, value in observe().items()}


def said(space, obs, population, groups=1):
    return th.cat([log_probs for _, log_probs in space.evaluate(obs, population, 1000, groups)])


def near(low, full):
    """Check that a difference is explained by the 8 bits of bfloat16."""
    assert low.dtype == th.float32
    return 0 < (low - full).square().mean().sqrt() < 0.03 * full.std(-1).mean()


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("architecture", "choices"), POLICIES)
@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_members_are_near_those_in_float32(obs, name, architecture, choices, groups):
    space = build(name, make(choices, architecture=architecture))
    for p in space.policy.network.parameters():
        p.data += 0.1 * th.randn(p.shape, generator=th.Generator().manual_seed(p.numel()))
    members = vectors(space, 6)
    for _ in range(2):  # before and after a vector was written
        before, full = weights(space.policy), said(space, obs, Dense(members), groups)
        space.precision = "bfloat16"
        assert near(said(space, obs, Dense(members), groups), full)
        assert same(before, weights(space.policy))
        assert all(p.dtype == th.float32 for p in space.policy.network.parameters())
        space.precision = "float32"
        assert th.equal(said(space, obs, Dense(members), groups), full)
        space.write(members[0])


@pytest.mark.parametrize("rank", [1, None])
def test_members_around_the_weights_are_near_those_in_float32(obs, rank):
    space = SEARCH_SPACES["full"](make(V), scale=0.5)
    population = Perturbed(space.tensors(), space.blocks, Noise(0, 0, rank), 0.3, 4)
    full = said(space, obs, population)
    space.precision = "bfloat16"
    assert near(said(space, obs, population), full)


def test_a_model_that_is_not_batched_runs_in_bfloat16_too(obs):
    with pytest.warns(UserWarning, match="one after another"):
        space = SEARCH_SPACES["full"](make(V, architecture="mpnet"))
    members = Dense(vectors(space, 3) * 0.1)
    full = said(space, obs, members)
    space.precision = "bfloat16"
    assert near(said(space, obs, members), full)


def test_weights_come_back_after_an_exception():
    policy = make(V)
    before, computing = weights(policy), Computing(policy.network, "bfloat16")

    def interrupted():
        with computing:
            assert {p.dtype for p in policy.network.parameters()} == {th.bfloat16}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert same(before, weights(policy))
    assert {p.dtype for p in policy.network.parameters()} == {th.float32}


def test_a_search_in_bfloat16_goes_on_after_it_was_saved(tmp_path):
    def made(**options):
        return build_agent(LowRankES, search_env(few_names(16)), search_space="full", **options)

    given = {"precision": "bfloat16", "optimizer_kwargs": {"popsize": 8}}
    whole, first = (made(**given).learn(10**9, callback=Stop(count)) for count in (4, 2))
    full = made(optimizer_kwargs={"popsize": 8}).learn(10**9, callback=Stop(4))
    first.save(tmp_path / "agent")
    second = LowRankES.load(tmp_path / "agent", env=search_env(few_names(16)), device="cpu")
    assert second.space.precision == "bfloat16"
    second.learn(10**9, callback=Stop(2), reset_num_timesteps=False)
    assert same(weights(second.policy), weights(whole.policy))
    assert not same(weights(full.policy), weights(whole.policy))
    assert {p.dtype for p in second.policy.parameters()} == {th.float32}
    with pytest.raises(ValueError, match="unknown precision='float16'"):
        made(precision="float16")
