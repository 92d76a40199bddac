"""The environments that every RL library has to play: with and without masks, Discrete and MultiDiscrete."""

from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

import lm_gym
from examples.tagging import WindowNet

NER, MASKED = "lm_gym/NER-v0", "lm_gym/MaskedLM-v0"
LABELS = "lm_gym/MultiLabelClassification-v0"
WORDS = 30_522
KINDS = {
    "tags": (NER, {}),
    "tags-masked": (NER, {"mask_actions": True}),
    "tags-whole": (NER, {"unit": "sequence"}),
    "words": (MASKED, {}),
    "words-masked": (MASKED, {"mask_actions": True}),
    "words-whole": (MASKED, {"unit": "sequence"}),
    "words-whole-masked": (MASKED, {"unit": "sequence", "mask_actions": True}),
    "labels": (LABELS, {}),
    "labels-whole": (LABELS, {"unit": "sequence", "reward": "label_f1"}),
}
COMBINATIONS = [pytest.param(name, id=name) for name in KINDS]


@cache
def tokenizer() -> Tokenizer:
    """Make a tokenizer as large as BERT's with mostly special tokens, which expose a library that ignores masks."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"[{i}]" for i in range(20_000))]
    words = {word: i for i, word in enumerate([*special, *(f"w{i}" for i in range(WORDS - len(special)))])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(special)
    return made


@cache
def dataset() -> lm_gym.Dataset:
    """Return texts of two to six words, each tagged by its number."""
    tags = ("O", "B-A", "I-A", "B-B")
    texts = [[f"w{7 * i + j}" for j in range(2 + i % 5)] for i in range(60)]
    tagged = [(words, ["O", *(tags[(i + j) % 4] for j in range(1, len(words)))]) for i, words in enumerate(texts)]
    return lm_gym.Dataset.from_sentences("combinations", tagged, scheme="conlleval", max_overlap=1)


@cache
def labelled() -> lm_gym.Dataset:
    """Return texts of two to six words with up to three labels."""
    texts = [" ".join(f"w{7 * i + j}" for j in range(2 + i % 5)) for i in range(60)]
    rows = [{"text": text, "labels": [f"w{k}" for k in range(3) if i >> k & 1]} for i, text in enumerate(texts)]
    return lm_gym.load_dataset(rows, fields=lm_gym.TASKS["multi_label"].fields, max_overlap=1)


def arguments(name: str) -> dict[str, Any]:
    """Return the arguments of `gymnasium.make_vec`, without `num_envs` and the autoreset mode."""
    id_, options = KINDS[name]
    masked = {"mask_probability": 0.4} if id_ == MASKED else {}
    data = labelled() if id_ == LABELS else dataset()
    return {"id": id_, "dataset": data, "tokenizer": tokenizer(), **masked, **options}


def watched(name: str, mode: str, num_envs: int = 8) -> lm_gym.TextVectorEnv:
    """Make a native environment that counts its steps."""
    return watch(gymnasium.make_vec(**arguments(name), num_envs=num_envs, autoreset_mode=mode), name)


def watch(env: lm_gym.TextVectorEnv, name: str) -> lm_gym.TextVectorEnv:
    """Make an environment count its steps in `played` and check actions against the mask, if it has one."""
    advance, env.played = env.advance, 0

    def watching(actions, rows=None):
        env.played += 1
        if "masked" in name:
            legal = env.action_masks().reshape(env.num_envs, -1, env.task.shape.choices)
            chosen = np.asarray(actions).reshape(env.num_envs, -1, 1)
            inside = np.ones(chosen.shape[:2], np.bool_)
            if "whole" in name:
                inside = env.episodes.observation["position_mask"] > 0
            if rows is not None:
                inside = inside & rows[:, None]
            assert np.take_along_axis(legal, chosen, -1)[..., 0][inside].all(), "what is masked was played"
        return advance(actions, rows)

    env.advance = watching
    return env


class Policy(nn.Module):
    """A network that gives logits and values for any of these environments.

    Args:
        space: the observation space.
        choices: n.
    """

    def __init__(self, space: gymnasium.spaces.Dict, choices: int) -> None:
        super().__init__()
        self.net, self.actor, self.critic = WindowNet(space, 16), nn.Linear(16, choices), nn.Linear(16, 1)

    def logits(self, observation) -> torch.Tensor:
        """Compute logits [..., n], or [..., T · n] for whole texts; masked choices get very low logits."""
        logits = self.actor(self.net(observation))
        whole = "cursor" not in observation
        if "action_mask" in observation:
            legal = observation["action_mask"] > 0
            logits = logits.masked_fill(~(legal.unsqueeze(-2) if whole else legal), -1e9)
        return logits.flatten(-2) if whole else logits

    def values(self, observation) -> torch.Tensor:
        """Compute values [..., 1]."""
        values = self.critic(self.net(observation))
        return values if "cursor" in observation else values.mean(-2)
