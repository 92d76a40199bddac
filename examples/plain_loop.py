"""PPO or REINFORCE in one file, without an RL library.

python -m examples.plain_loop [ppo | reinforce]

REINFORCE differs in two lines: a plain policy gradient, and one step per rollout. Both have a critic.
"""

import sys

import gymnasium
import torch
from torch import nn
from torch.distributions import Categorical

from examples.tagging import ENV, WindowNet, judge

ALGORITHM = sys.argv[1] if len(sys.argv) > 1 else "ppo"
UPDATES, STEPS, ROWS, GAMMA, LAMBDA, CLIP = 40, 32, 64, 0.5, 0.9, 0.2

torch.manual_seed(0)
env = gymnasium.make_vec(**ENV, num_envs=ROWS, autoreset_mode="SAME_STEP")
net = WindowNet(env.single_observation_space)
actor, critic = nn.Linear(128, env.single_action_space.n), nn.Linear(128, 1)
optimizer = torch.optim.Adam([*net.parameters(), *actor.parameters(), *critic.parameters()], lr=3e-3)


def tensors(observation):
    return {key: torch.as_tensor(leaf) for key, leaf in observation.items()}


def evaluate(observation):
    features = net(observation)
    return Categorical(logits=actor(features)), critic(features).squeeze(-1)


def losses(batch):
    distribution, values = evaluate(batch["observation"])
    log_probs, advantages = distribution.log_prob(batch["actions"]), batch["advantages"]
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    if ALGORITHM == "ppo":
        ratio = (log_probs - batch["log_probs"]).exp()
        policy_loss = -torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
    else:
        policy_loss = -(log_probs * advantages).mean()
    return policy_loss + 0.5 * (values - batch["returns"]).pow(2).mean() - 0.01 * distribution.entropy().mean()


observation = tensors(env.reset(seed=0)[0])
for _ in range(UPDATES):
    seen, columns = [], []
    with torch.no_grad():
        for _ in range(STEPS):
            distribution, values = evaluate(observation)
            actions = distribution.sample()
            seen.append(observation)
            step, rewards, terminated, _, _ = env.step(actions.numpy())  # never truncated: final_obs is not needed
            observation = tensors(step)
            going = 1 - torch.as_tensor(terminated).float()
            columns.append((actions, distribution.log_prob(actions), values, torch.as_tensor(rewards).float(), going))
        actions, log_probs, values, rewards, going = map(torch.stack, zip(*columns, strict=True))  # [STEPS, ROWS]
        following = torch.cat([values[1:], evaluate(observation)[1][None]])
        advantages, advantage = torch.zeros_like(rewards), torch.zeros(ROWS)
        for t in reversed(range(STEPS)):  # Schulman et al. 2016, equation 16
            delta = rewards[t] + GAMMA * following[t] * going[t] - values[t]
            advantages[t] = advantage = delta + GAMMA * LAMBDA * going[t] * advantage
    rollout = {"actions": actions, "log_probs": log_probs, "advantages": advantages, "returns": advantages + values}
    rollout = {key: column.flatten() for key, column in rollout.items()}
    leaves = {key: torch.cat([one[key] for one in seen]) for key in observation}
    epochs, size = (4, 512) if ALGORITHM == "ppo" else (1, STEPS * ROWS)
    for _ in range(epochs):
        for rows in torch.randperm(STEPS * ROWS).split(size):
            batch = {key: column[rows] for key, column in rollout.items()}
            loss = losses({**batch, "observation": {key: leaf[rows] for key, leaf in leaves.items()}})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

with torch.no_grad():
    judge(f"plain loop, {ALGORITHM}", lambda observation: evaluate(tensors(observation))[0].probs.argmax(-1))
