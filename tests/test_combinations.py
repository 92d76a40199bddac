"""Stable-Baselines3 and sb3-contrib play every combination."""

import gymnasium
import pytest
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from tests.combinations import COMBINATIONS, WORDS, WindowNet, tokenizer, watched


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
