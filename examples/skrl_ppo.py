"""skrl's PPO over the native vector environment, without an adapter.

python -m examples.skrl_ppo
"""

import gymnasium
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from skrl.utils.spaces.torch import unflatten_tensorized_space
from torch import nn

from examples.tagging import ENV, WindowNet, judge


class Actor(CategoricalMixin, Model):
    """The policy; skrl passes observations as one flat row of float32."""

    def __init__(self, observation_space, action_space) -> None:
        Model.__init__(self, observation_space=observation_space, action_space=action_space, device="cpu")
        CategoricalMixin.__init__(self)
        self.layers = nn.Sequential(WindowNet(observation_space), nn.Linear(128, int(action_space.n)))

    def compute(self, inputs, role=""):
        """Compute logits, [B, n]."""
        return self.layers(unflatten_tensorized_space(self.observation_space, inputs["observations"])), {}


class Critic(DeterministicMixin, Model):
    """The value estimate."""

    def __init__(self, observation_space, action_space) -> None:
        Model.__init__(self, observation_space=observation_space, action_space=action_space, device="cpu")
        DeterministicMixin.__init__(self)
        self.layers = nn.Sequential(WindowNet(observation_space), nn.Linear(128, 1))

    def compute(self, inputs, role=""):
        """Compute values, [B, 1]."""
        return self.layers(unflatten_tensorized_space(self.observation_space, inputs["observations"])), {}


if __name__ == "__main__":
    set_seed(0)
    env = wrap_env(
        gymnasium.make_vec(**ENV, num_envs=64, autoreset_mode="SAME_STEP"), wrapper="gymnasium", verbose=False
    )
    actor, critic = (kind(env.observation_space, env.action_space) for kind in (Actor, Critic))
    settings = PPO_CFG(rollouts=32, learning_epochs=4, mini_batches=4, learning_rate=3e-3, discount_factor=0.5)
    settings.gae_lambda, settings.entropy_loss_scale = 0.9, 0.01
    settings.experiment.write_interval = settings.experiment.checkpoint_interval = 0
    agent = PPO(
        models={"policy": actor, "value": critic},
        memory=RandomMemory(memory_size=32, num_envs=env.num_envs, device="cpu"),
        cfg=settings,
        observation_space=env.observation_space,
        action_space=env.action_space,
        device="cpu",
    )
    SequentialTrainer(
        cfg={"timesteps": 50 * 32, "headless": True, "disable_progressbar": True}, env=env, agents=agent
    ).train()

    def act(observation):
        """Return the most probable tags."""
        with torch.no_grad():
            return actor.layers({key: torch.as_tensor(leaf) for key, leaf in observation.items()}).argmax(-1)

    judge("skrl, PPO", act)
