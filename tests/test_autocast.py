"""bfloat16 autocast in every way of playing texts, and in nothing but the agent's own forward passes."""

import gymnasium
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from lm_gym.agents import REINFORCE
from tests.small import Stop, few_names, small

WAYS = {
    "whole texts": {"id": "lm_gym/NER-v0", "unit": "sequence"},
    "steps of one position": {"id": "lm_gym/NER-v0"},
    "one position, sampled": {"id": "lm_gym/NER-v0", "reward": "f1"},
    "steps of several positions": {"id": "lm_gym/Unmasking-v0", "unit": "sequence", "order": "learned", "max_steps": 2},
}


class Watch(BaseCallback):
    """Records whether callbacks run with autocast."""

    seen: bool | None = None

    def _on_step(self):
        self.seen = bool(self.seen) or th.is_autocast_enabled("cpu")
        return True


@pytest.mark.parametrize("way", WAYS)
def test_forward_passes_are_in_bfloat16_and_callbacks_are_not(way):
    make, watch = WAYS[way], Watch()
    data = few_names(8) if "NER" in make["id"] else "builtin"
    env = gymnasium.make_vec(**make, dataset=data, num_envs=4, autoreset_mode="SameStep")
    for autocast in (True, False):
        found = []
        agent = REINFORCE("LMPolicy", env, autocast=autocast, policy_kwargs=small(env), seed=0, device="cpu")
        agent.policy.network.base_model.register_forward_pre_hook(
            lambda *_, found=found: found.append(th.is_autocast_enabled("cpu"))
        )
        agent.learn(10**9, callback=[Stop(80), watch], log_interval=None)
        assert found
        assert set(found) == {autocast}
    assert watch.seen is False
    assert agent.updates
