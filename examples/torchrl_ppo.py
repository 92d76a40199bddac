"""TorchRL's PPO over the native vector environment, without an adapter.

python -m examples.torchrl_ppo
"""

import gymnasium
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper, check_env_specs
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from examples.tagging import ENV, WindowNet, judge

LEAVES = ["input_ids", "positions", "predictions", "cursor"]


class Head(nn.Module):
    """The network and a linear layer, with the leaves of the observation as arguments."""

    def __init__(self, net: WindowNet, size: int) -> None:
        super().__init__()
        self.net, self.layer = net, nn.Linear(128, size)

    def forward(self, *leaves):
        """Compute [..., size]."""
        return self.layer(self.net(dict(zip(LEAVES, leaves, strict=True))))


if __name__ == "__main__":
    torch.manual_seed(0)
    vector = gymnasium.make_vec(**ENV, num_envs=64, autoreset_mode="DISABLED")
    env = GymWrapper(vector, categorical_action_encoding=True)
    check_env_specs(env)
    env.set_seed(0)
    net = WindowNet(vector.single_observation_space)
    logits = TensorDictModule(Head(net, int(vector.single_action_space.n)), LEAVES, ["logits"])
    actor = ProbabilisticActor(
        logits,
        in_keys=["logits"],
        spec=env.action_spec,
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    critic = ValueOperator(Head(net, 1), in_keys=LEAVES)
    advantage = GAE(gamma=0.5, lmbda=0.9, value_network=critic)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01, critic_coeff=0.5, normalize_advantage=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    for rollout in Collector(
        env, actor, frames_per_batch=64 * 32, total_frames=49 * 64 * 32, auto_register_policy_transforms=False
    ):
        for _ in range(4):
            with torch.no_grad():
                advantage(rollout)
            flat = rollout.reshape(-1)
            for rows in torch.randperm(len(flat)).split(512):
                parts = loss(flat[rows])
                optimizer.zero_grad()
                (parts["loss_objective"] + parts["loss_critic"] + parts["loss_entropy"]).backward()
                optimizer.step()

    def act(observation):
        """Return the most probable tags."""
        with torch.no_grad():
            return logits(*(torch.as_tensor(observation[key]) for key in LEAVES)).argmax(-1)

    judge("TorchRL, PPO", act)
