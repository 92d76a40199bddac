"""Stable-Baselines3's PPO over the native vector environment, through the adapter.

python -m examples.sb3_ppo
"""

import gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from examples.tagging import ENV, WindowNet, judge
from lm_gym.compat.stable_baselines3 import VecEnvAdapter


class WindowExtractor(BaseFeaturesExtractor):
    """The network for SB3, which passes observations as exact float32 values."""

    def __init__(self, observation_space: gymnasium.spaces.Dict) -> None:
        super().__init__(observation_space, features_dim=128)
        self.net = WindowNet(observation_space)

    def forward(self, observations):
        """Compute the features, [B, 128]."""
        return self.net(observations)


if __name__ == "__main__":
    env = VecEnvAdapter(gymnasium.make_vec(**ENV, num_envs=64, autoreset_mode="DISABLED"))
    model = PPO(
        "MultiInputPolicy",
        env,
        policy_kwargs={"features_extractor_class": WindowExtractor, "net_arch": []},
        n_steps=32,
        batch_size=512,
        n_epochs=4,
        learning_rate=3e-3,
        gamma=0.5,
        gae_lambda=0.9,
        ent_coef=0.01,
        seed=0,
        device="cpu",
    )
    model.learn(100_000)
    judge("Stable-Baselines3, PPO", lambda observation: model.predict(observation, deterministic=True)[0])
