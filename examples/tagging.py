"""Code shared by the examples: the environment, a small network, and the evaluation of trained agents."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

import lm_gym

ENV = {"id": "lm_gym:lm_gym/NER-v0", "reward": "balanced_accuracy"}


class WindowNet(nn.Module):
    """Features of the word to decide: embeddings of the sub-tokens around it and of the previous word's tag.

    Accepts observations as tensors of any dtype and with any leading dimensions: `input_ids` [..., L], `positions` and
    `predictions` [..., T], `cursor` [..., 1]. Without a cursor (`unit="sequence"`) it returns the features of every
    word.

    Args:
        space: the observation space.
        size: number of features.

    Returns:
        float32 [..., size], or [..., T, size] without a cursor.
    """

    def __init__(self, space: gymnasium.spaces.Dict, size: int = 128) -> None:
        super().__init__()
        vocabulary, choices = (int(space[key].high.max()) + 1 for key in ("input_ids", "predictions"))
        self.tokens, self.choices = nn.Embedding(vocabulary, 32), nn.Embedding(choices, 32)
        self.layer = nn.Sequential(nn.Linear(6 * 32, size), nn.ReLU())
        self.register_buffer("window", torch.arange(-2, 3))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Compute the features."""
        ids, places, given = (observation[key].long() for key in ("input_ids", "positions", "predictions"))
        before = given.roll(1, -1)  # the first word gets the last word's tag, which is undecided until the end
        if "cursor" in observation:
            cursor = observation["cursor"].long()
            places, before = places.gather(-1, cursor), before.gather(-1, cursor)
        around = (places.unsqueeze(-1) + self.window).clamp(0, ids.shape[-1] - 1)  # [..., P, 5]
        near = ids.gather(-1, around.flatten(-2)).view(around.shape)
        features = self.layer(torch.cat([self.tokens(near).flatten(-2), self.choices(before)], -1))
        return features.squeeze(-2) if "cursor" in observation else features


def judge(name: str, act: Callable[[dict[str, np.ndarray]], Any], **options: Any) -> None:
    """Play every validation text once; exit with status 1 unless `act` earns twice as much as random tags and all O.

    Args:
        name: name of the trained agent.
        act: maps observations, each leaf [N, …], to actions, int [N].
        options: arguments of the environment that it was trained in.
    """
    texts = len(lm_gym.load_dataset("builtin/ner").splits["validation"])
    env = gymnasium.make_vec(**ENV, num_envs=texts, split="validation", sampling="sequential", **options)
    chance = np.random.default_rng(0)
    policies = {
        "trained": act,
        "random": lambda _: chance.integers(0, env.single_action_space.n, texts),
        "all O": lambda _: np.zeros(texts, np.int64),
    }
    means = {row: play_once(env, policy) for row, policy in policies.items()}
    print(f"{name}, mean reward of {texts} validation texts:", *(f"{row} {mean:.3f}" for row, mean in means.items()))
    if means["trained"] < 2 * max(means["random"], means["all O"]):
        raise SystemExit(f"{name}: the trained agent is not clearly better than random and all O")


def play_once(env: gymnasium.vector.VectorEnv, act: Callable[[dict[str, np.ndarray]], Any]) -> float:
    """Play one text in every row, and return the mean of their rewards."""
    observation, _ = env.reset(seed=0)
    total, playing = np.zeros(env.num_envs), np.ones(env.num_envs, np.bool_)
    while playing.any():
        observation, rewards, terminated, _, _ = env.step(np.asarray(act(observation)))
        total += np.where(playing, rewards, 0)
        playing &= ~terminated
    return float(total.mean())
