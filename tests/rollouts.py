"""Agents whose rollouts are drawn apart from learning, by messages but without other processes."""

import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from lm_gym.agents import REINFORCE
from lm_gym.agents.algorithms.rollout_replica import RolloutOrder, RolloutReplica, as_bytes
from lm_gym.agents.algorithms.rollouts import Rollouts
from lm_gym.agents.algorithms.text_algorithm import StopTraining
from lm_gym.agents.algorithms.workers import Start
from tests.cases import word_level
from tests.small import small


class Case(NamedTuple):
    """Arguments of an environment and of an agent."""

    env: Mapping[str, Any] = {}
    agent: Mapping[str, Any] = {}


WRITING = {
    "id": "lm_gym/Unmasking-v0",
    "dataset": {"train": [{"tokens": list(text)} for text in ("121", "122", "12", "112")]},
    "tokenizer": word_level("12"),
    "order": "left_to_right",
}
CASES = {
    "samples": Case(agent={"samples": 4}),
    "distinct": Case(agent={"samples": 4, "behaviour": "without_replacement", "advantage": "plain"}),
    "whole texts": Case(env={"reward": "f1"}, agent={"baseline": "counterfactual"}),
    "critic": Case(env={"reward": "f1"}, agent={"baseline": "value"}),
    "reference": Case(agent={"samples": 4, "behaviour": "reference", "kl_coef": 0.1}),
    "several steps": Case(env=WRITING),
    "groups, one position a step": Case(env={"unit": "token", "group_size": 5}, agent={"samples": 1}),
}


def build(names, case, algorithm=REINFORCE, **kwargs):
    """Return an agent with a model of one layer, with dropout."""
    chosen = CASES[case]
    given = {"id": "lm_gym/NER-v0", "dataset": names, "unit": "sequence", "reward": "accuracy", "max_length": 64}
    env = gymnasium.make_vec(**{**given, "num_envs": 5, "autoreset_mode": "SameStep", **chosen.env})
    usual = {"policy_kwargs": {**small(env), "dropout": 0.1}, "seed": 3, "device": "cpu", "learning_rate": 1e-3}
    return algorithm("LMPolicy", env, **{**usual, **chosen.agent, **kwargs})


class Until(BaseCallback):
    """Stop training before an update with this number."""

    def __init__(self, update):
        super().__init__()
        self.update = update

    def _on_rollout_start(self):
        if self.model.updates == self.update:
            raise StopTraining

    def _on_step(self):
        return True


def learned(agent, updates):
    """Train an agent until it has made a number of updates in total."""
    return agent.learn(10**9, callback=Until(updates), log_interval=None, reset_num_timesteps=agent.updates == 0)


class Apart(Rollouts):
    """Rollouts of a replica in this process, also of the weights that are learning."""

    replica = None

    def begin(self, agent):
        agent.history.record(agent.updates, agent.policy)
        if self.replica is None:
            self.replica = RolloutReplica(pickle.loads(pickle.dumps(Start.of(agent))))

    def take(self, agent):
        version = agent.history.version(agent.updates)
        self.replica.load(as_bytes(agent.history.recorded[version]))
        texts = agent._texts(agent.env)
        order = RolloutOrder(agent.updates, 0 if texts is None else texts.batch_draws)
        return pickle.loads(pickle.dumps(self.replica.roll_out(order)))


def assert_same(one, other, atol=0.0):
    """Assert that two agents have the same counters, and weights that differ by at most `atol`."""
    for (name, ours), theirs in zip(one.policy.named_parameters(), other.policy.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=atol, msg=lambda said, name=name: f"{name}: {said}")
    counters = ("num_timesteps", "_n_updates", "backward_passes", "tokens")
    assert [getattr(one, name) for name in counters] == [getattr(other, name) for name in counters]
