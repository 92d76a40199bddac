"""RLlib's PPO on its new API stack: native vector environments in two remote workers.

python -m examples.rllib_ppo
"""

import gymnasium
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import nn

from examples.tagging import ENV, WindowNet, judge


class WindowModule(TorchRLModule, ValueFunctionAPI):
    """The network for RLlib, which passes observations as a dict of tensors with their dtypes."""

    def setup(self):
        """Build the layers."""
        self.net = WindowNet(self.observation_space)
        self.actor, self.critic = nn.Linear(128, int(self.action_space.n)), nn.Linear(128, 1)

    def _forward(self, batch, **kwargs):
        features = self.net(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: self.actor(features), Columns.EMBEDDINGS: features}

    def compute_values(self, batch, embeddings=None):
        """Estimate values, [B]."""
        features = self.net(batch[Columns.OBS]) if embeddings is None else embeddings
        return self.critic(features).squeeze(-1)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    id_, arguments = ENV["id"], {key: value for key, value in ENV.items() if key != "id"}
    config = (
        PPOConfig()
        .environment(id_, env_config=arguments)  # with NEXT_STEP, the default and the mode that RLlib expects
        .env_runners(
            num_env_runners=2,
            num_envs_per_env_runner=32,
            gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .learners(num_learners=0)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=WindowModule))
        .training(train_batch_size_per_learner=2048, minibatch_size=512, num_epochs=4, lr=3e-3, gamma=0.5)
        .training(lambda_=0.9, entropy_coeff=0.01, use_kl_loss=False)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for _ in range(30):
        algorithm.train()
    module = algorithm.get_module()

    def act(observation):
        """Return the most probable tags."""
        with torch.no_grad():
            features = module.net({key: torch.as_tensor(leaf) for key, leaf in observation.items()})
            return module.actor(features).argmax(-1)

    judge("RLlib, PPO", act)
    algorithm.stop()
    ray.shutdown()
