"""Batches shared by several processes give the gradients of one process and the same weights in all of them."""

from contextlib import ExitStack

import gymnasium
import pytest
import torch as th

from lm_gym.agents import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.runs.cluster import use_workers
from lm_gym.agents.runs.settings import RaySettings, SettingsError
from tests.groups import ForkedGroup, same_weights
from tests.small import Stop, small

CASES = {
    "supervised": (Supervised, {}),
    "weighted by text": (Supervised, {"weighting": "text"}),
    "all choices": (REINFORCE, {}),
    "samples": (REINFORCE, {"samples": 4}),
    "f1": (REINFORCE, {"reward": "f1"}),
    "critic": (REINFORCE, {"reward": "f1", "baseline": "value"}),
    "normalised over the batch": (REINFORCE, {"samples": 4, "advantage": "normalized", "baseline": "greedy"}),
    "moving average": (REINFORCE, {"samples": 4, "advantage": "plain", "baseline": "moving_average"}),
    "older weights": (REINFORCE, {"samples": 4, "lag": 1}),
    "reference": (REINFORCE, {"kl_coef": 0.1, "entropy_coef": 0.01, "supervised_coef": 0.1}),
}


def build(names, algorithm, reward="accuracy", policy_kwargs=None, **kwargs):
    env = gymnasium.make_vec(
        "lm_gym/NER-v0", num_envs=5, dataset=names, unit="sequence", reward=reward, autoreset_mode="SameStep",
        max_length=64,
    )  # fmt: skip
    policy = {**small(env), "dropout": 0.0, **(policy_kwargs or {})}
    given = {"policy_kwargs": policy, "seed": 3, "device": "cpu", "learning_rate": 1e-3}
    return algorithm("LMPolicy", env, **{**given, **kwargs})


def gradients(agent):
    """Return the gradients of the last update, before clipping."""
    return {name: None if p.grad is None else p.grad.clone() for name, p in agent.policy.named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_two_workers_compute_the_gradients_of_one_process(case, names):
    algorithm, kwargs = CASES[case]
    alone = build(names, algorithm, **kwargs).learn(10**9, callback=Stop(1))
    agent = build(names, algorithm, **kwargs)
    with ForkedGroup(2) as agent.sharing:
        agent.learn(10**9, callback=Stop(1))
        assert same_weights(agent.sharing, agent)
    ours, theirs = gradients(agent), gradients(alone)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert (gradient is None) == (ours[name] is None), name
        if gradient is not None:
            th.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert any(gradient is not None and gradient.any() for gradient in theirs.values())


@pytest.mark.parametrize("case", ["supervised", "samples", "critic", "older weights"])
def test_the_weights_stay_those_of_one_process(case, names):
    algorithm, kwargs = CASES[case]
    alone = build(names, algorithm, **kwargs).learn(10**9, callback=Stop(5))
    agent = build(names, algorithm, **kwargs)
    before = [p.detach().clone() for p in agent.policy.parameters()]
    with ForkedGroup(2) as agent.sharing:
        agent.learn(10**9, callback=Stop(5))
        assert same_weights(agent.sharing, agent)
    after = [p.detach() for p in agent.policy.parameters()]
    assert max(float((p - b).abs().max()) for p, b in zip(after, before, strict=True)) > 1e-2
    for (name, ours), theirs in zip(agent.policy.named_parameters(), alone.policy.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=1e-5, msg=name)
    counters = ("num_timesteps", "forward_passes", "backward_passes", "tokens")
    assert [getattr(agent, name) for name in counters] == [getattr(alone, name) for name in counters]
    assert agent.policy.state_dict().keys() == alone.policy.state_dict().keys()


@pytest.mark.parametrize("kwargs", [{"autocast": True}, {"policy_kwargs": {"dtype": "bfloat16"}}])
def test_in_bfloat16_the_gradients_differ_by_its_rounding(kwargs, names):
    alone = build(names, REINFORCE, **kwargs).learn(10**9, callback=Stop(1))
    agent = build(names, REINFORCE, **kwargs)
    with ForkedGroup(2) as agent.sharing:
        agent.learn(10**9, callback=Stop(1))
        assert same_weights(agent.sharing, agent)
    ours, theirs = gradients(agent), gradients(alone)
    for name, gradient in theirs.items():
        if gradient is not None:
            th.testing.assert_close(ours[name], gradient, rtol=0.05, atol=0.02, msg=name)


def test_fewer_texts_than_workers_are_refused(names):
    agent = build(names, Supervised)
    with ExitStack() as held, pytest.raises(SettingsError, match=r"ray\.workers=6 share the 5 texts of a batch: give"):
        use_workers(RaySettings(workers=6), agent, held)


def test_texts_that_take_several_steps_are_refused(names):
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=4, dataset=names, autoreset_mode="SameStep", max_length=64)
    agent = REINFORCE("LMPolicy", env, policy_kwargs=small(env), seed=3, device="cpu")
    with ExitStack() as held, pytest.raises(SettingsError, match=r"these take several: leave ray\.workers out"):
        use_workers(RaySettings(workers=2), agent, held)
