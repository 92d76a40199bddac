"""Tianshou's PPO over the native vector environment, through the adapter.

python -m examples.tianshou_ppo
"""

import gymnasium
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, Collector, VectorReplayBuffer
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import ActionReprNetWithVectorOutput
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from torch.distributions import Categorical

from examples.tagging import ENV, WindowNet, judge
from lm_gym.compat.tianshou import VectorEnvAdapter


class WindowFeatures(ActionReprNetWithVectorOutput):
    """The network for Tianshou, which passes observations as a Batch of arrays with their dtypes."""

    def __init__(self, space: gymnasium.spaces.Dict) -> None:
        super().__init__(128)
        self.net = WindowNet(space)

    def forward(self, obs, state=None, info=None):
        """Compute the features, [B, 128], and pass on the state."""
        return self.net({key: torch.as_tensor(leaf) for key, leaf in obs.items()}), state


if __name__ == "__main__":
    torch.manual_seed(0)
    env = VectorEnvAdapter(gymnasium.make_vec(**ENV, num_envs=64, autoreset_mode="DISABLED"))
    env.seed(0)
    features = WindowFeatures(env.vector.single_observation_space)
    policy = ProbabilisticActorPolicy(
        actor=DiscreteActor(
            preprocess_net=features, action_shape=env.vector.single_action_space.n, softmax_output=False
        ),
        dist_fn=lambda logits: Categorical(logits=logits),
        action_space=env.vector.single_action_space,
        action_scaling=False,
        action_bound_method=None,
        deterministic_eval=True,
    )
    algorithm = PPO(
        policy=policy,
        critic=DiscreteCritic(preprocess_net=features),
        optim=AdamOptimizerFactory(lr=3e-3),
        gamma=0.5,
        gae_lambda=0.9,
        ent_coef=0.01,
    )
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector(policy, env, VectorReplayBuffer(64 * 64, 64)),
            max_epochs=1,
            epoch_num_steps=100_000,
            collection_step_num_env_steps=64 * 32,
            update_step_num_repetitions=4,
            batch_size=512,
            test_collector=None,
            show_progress=False,
        )
    )
    policy.eval()
    judge("Tianshou, PPO", lambda observation: policy(Batch(obs=Batch(observation), info=Batch())).act)
