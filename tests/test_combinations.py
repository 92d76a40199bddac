"""Stable-Baselines3, sb3-contrib and a plain loop play every combination."""

import gymnasium
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.distributions import Categorical

from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from tests.cases import MODES
from tests.combinations import COMBINATIONS, WORDS, Policy, WindowNet, tokenizer, watched


class Features(BaseFeaturesExtractor):
    def __init__(self, observation_space):
        whole = "cursor" not in observation_space.spaces
        super().__init__(observation_space, 16 * (observation_space["positions"].shape[0] if whole else 1))
        self.net = WindowNet(observation_space, 16)

    def forward(self, observations):
        return self.net(observations).flatten(1)


SETTINGS = {"policy_kwargs": {"features_extractor_class": Features, "net_arch": []}, "seed": 0, "device": "cpu"}


def test_the_vocabulary_is_that_large():
    env = watched("words", "SAME_STEP")
    assert env.single_action_space == gymnasium.spaces.Discrete(WORDS)
    assert tokenizer().get_vocab_size() == WORDS


@pytest.mark.parametrize("mode", ["SAME_STEP", "DISABLED"])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_maskable_ppo(name, mode):
    env = watched(name, mode)
    MaskablePPO("MultiInputPolicy", VecEnvAdapter(env), n_steps=4, batch_size=16, n_epochs=1, **SETTINGS).learn(64)
    assert env.played == 8


@pytest.mark.parametrize("algorithm", [PPO, A2C, DQN])
@pytest.mark.parametrize("name", [one for one in COMBINATIONS if "masked" not in one.values[0]])
def test_without_masks(name, algorithm):
    if algorithm is DQN and "whole" in name:
        with pytest.raises(AssertionError, match="MultiDiscrete"):
            DQN("MultiInputPolicy", VecEnvAdapter(watched(name, "SAME_STEP")), **SETTINGS)
        return
    more = {"batch_size": 16, "learning_starts": 16, "buffer_size": 200} if algorithm is DQN else {"n_steps": 4}
    more |= {"batch_size": 16, "n_epochs": 1} if algorithm is PPO else {}
    env = watched(name, "SAME_STEP")
    algorithm("MultiInputPolicy", VecEnvAdapter(env), **more, **SETTINGS).learn(64)
    assert env.played == 8


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_plain_loop(name, mode):
    env = watched(name, mode)
    choices = env.task.shape.choices
    policy = Policy(env.single_observation_space, choices)
    optimizer = torch.optim.Adam(policy.parameters())
    observation, _ = env.reset(seed=0)
    for _ in range(8):
        logits = policy.logits({key: torch.as_tensor(leaf) for key, leaf in observation.items()})
        distribution = Categorical(logits=logits.view(8, -1, choices))
        actions = distribution.sample()
        observation, rewards, terminated, _, _ = env.step(actions.view(env.action_space.shape).numpy())
        loss = -(distribution.log_prob(actions).sum(1) * torch.as_tensor(rewards)).mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(torch.isfinite(one.grad).all() for one in policy.parameters() if one.grad is not None)
        optimizer.step()
        if mode == "DISABLED" and terminated.any():
            observation, _ = env.reset(options={"reset_mask": terminated})
    assert env.played == 8
