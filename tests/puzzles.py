"""Small puzzles, the environments of unmasking that play them, and small policies."""

import gymnasium
import numpy as np
import torch as th

from lm_gym.agents import LMPolicy
from tests.cases import tokenizer
from tests.small import SMALL

ID = "lm_gym/Unmasking-v0"
ROWS = [{"tokens": list("1234"), "clues": [1]}, {"tokens": list("4321"), "clues": []}]


def make(num_envs=2, rows=ROWS, **options):
    """Make a vector environment that plays puzzles of four masked tokens."""
    source = {"dataset": {"train": rows}, "tokenizer": tokenizer(ID)}
    return gymnasium.make_vec(ID, num_envs=num_envs, autoreset_mode="Disabled", **source, **options)


def begun(env, text=1):
    """Return the observation of a text, repeated in every row."""
    return env.reset(options={"indices": np.full(env.num_envs, text)})[0]


def small_policy(env, vocabulary=17, **arguments):
    """Make a policy of one layer without dropout, with the same weights each time."""
    th.manual_seed(0)
    return LMPolicy(
        env.single_observation_space,
        env.single_action_space,
        lambda _: 0.0,
        **arguments,
        model={**SMALL, "vocab_size": vocabulary, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )
