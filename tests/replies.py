"""Small conversations with candidate replies, the environments and policies for them, and banks."""

import json

import gymnasium

from lm_gym.agents import LMPolicy
from lm_gym.tasks import load_data
from lm_gym.tasks.response_selection import ResponseSelection
from tests.cases import word_level
from tests.small import small

ID = "lm_gym/ResponseSelection-v0"
TOKENIZER = word_level(["a", "b", "c", "d", "e", "x", "y", "z"])
RECORDS = [
    {"turns": ["a", "b"], "message": "c d", "candidates": ["x y", "z", "x"], "answer": 1},
    {"turns": [], "message": "e", "candidates": ["y", "z"], "answer": 0},
]


def make(records=RECORDS, num_envs=2, **options):
    """Make a vector environment that plays conversations in their order."""
    given = {"unit": "sequence", "tokenizer": TOKENIZER, "sampling": "sequential", "autoreset_mode": "SameStep"}
    data = load_data(ResponseSelection, records) if isinstance(records, list) else records
    return gymnasium.make_vec(ID, num_envs=num_envs, dataset=data, **{**given, **options})


def policy_of(env, **more):
    """Make a policy of one layer for an environment."""
    task = env.unwrapped.task
    arguments = {**task.policy_arguments, **small(env), **more}
    return LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 1e-3, **arguments).eval()


def bank_of(folder, *replies):
    """Write a bank of replies and return its path."""
    path = folder / "bank.jsonl"
    path.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in replies), encoding="utf-8")
    return str(path)
