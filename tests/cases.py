"""Every registered environment with every combination of arguments that changes a space or the dynamics."""

import itertools
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator, registry
from gymnasium.vector import AutoresetMode
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import lm_gym
from lm_gym.envs.arguments import ACTIONS, UNITS, EnvArguments
from lm_gym.envs.sampler import SAMPLINGS
from lm_gym.tasks import load_data

MODES = [mode.name for mode in AutoresetMode]
IDS = sorted(id_ for id_, spec in registry.items() if spec.namespace == "lm_gym")
COMBINED = {"unit": UNITS, "actions": ACTIONS, "dense": (True, False), "mask_actions": (False, True)}
OPTIONS = {  # options of tasks, each combined with all of the above
    "masked_lm": [{"fill": f, "mask_probability": p} for f in ("parallel", "sequential") for p in (0.15, 0.4)],
}
WORDED = {
    "template": "{text} It was {mask}.",
    "label_words": {"negative": "bad", "neutral": ["so", "now"], "positive": "good"},
    "calibrate": True,
    "costs": {"negative": {"positive": 5.0}},
}
BANK = str(Path(__file__).parents[1] / "examples" / "replies.jsonl")
OPTIONS_ALONE = {  # not combined with others
    "multi_label": [{"marker": "[PAD]"}],
    "recommendation": [
        {"k": 1, "unit": "sequence", "reward": "relevance", "reward_kwargs": {"wrong_cost": 0.5}},
        {"k": 5, "marker": "[PAD]", "similarity": False},
    ],
    "response_selection": [
        {"abstain": True, "reward": "relevance", "reward_kwargs": {"wrong_cost": 0.5}},
        {"abstain": True, "unit": "sequence", "mask_actions": True},
        {"marker": "[PAD]", "unit": "sequence", "actions": "distribution"},
        {"bank": BANK, "k": 3, "similarity": False},
        {"head": "similarity", "abstain": True, "max_length": 40},
    ],
    "text_classification": [WORDED],  # change the content of texts, but no space and no dynamics
    "unmasking": [
        {"order": "random", "block_size": 4, "clues": False, "mask_probability": 0.5},
        {"unit": "sequence", "order": "random", "block_size": 4, "per_step": 3, "dense": False},
        {"unit": "sequence", "per_step": None, "mask_probability": "uniform"},
        {"unit": "sequence", "actions": "distribution", "order": "confidence", "per_step": 3, "threshold": 0.1},
        {"unit": "sequence", "actions": "distribution", "order": "margin", "max_steps": 2, "leave_open": True},
        {"unit": "sequence", "actions": "distribution", "order": "entropy", "block_size": 5},
        {"unit": "sequence", "order": "learned", "max_steps": 4, "step_cost": 0.1},
        {"unit": "sequence", "actions": "distribution", "order": "learned", "block_size": 5, "max_steps": 3},
        {"unit": "sequence", "reward": "rule", "rule": "sudoku", "per_step": 3},
        {"reward": "rule", "rule": "arithmetic", "dense": False},
        {"unit": "sequence", "actions": "distribution", "order": "confidence", "temperature": 0.7},
        {"unit": "sequence", "actions": "distribution", "order": "learned", "max_steps": 3, "temperature": 1.0},
        {"actions": "distribution", "temperature": 2.0},
        {"unit": "sequence", "actions": "distribution", "per_step": None, "temperature": 2.0},
        {"unit": "sequence", "order": "learned", "max_steps": 4, "remask": True, "remask_cost": 0.1},
        {"unit": "sequence", "actions": "distribution", "order": "learned", "max_steps": 3, "remask": True},
        {"unit": "sequence", "order": "confidence"},
        {"temperature": 1.0},
        {"order": "learned", "max_steps": 3},
    ],
}
ALONE = {  # one at a time, with the first value of every other argument
    "sampling": SAMPLINGS[1:],
    "reward": (*lm_gym.REWARDS, {"accuracy": 1.0, "balanced_accuracy": 0.5}),
    "max_episode_steps": (2,),
    "max_length": (24,),
    "split": ("test",),
    "render_mode": ("ansi",),
}
SOURCES = {"dataset", "tokenizer", "reward_kwargs"}  # which texts are played, not how
assert {field.name for field in fields(EnvArguments)} == {*COMBINED, *ALONE, *SOURCES}


def kind(id_: str) -> type[lm_gym.Task]:
    """Return the task of an environment."""
    return load_env_creator(registry[id_].entry_point).task_class


def refused(id_: str, options: dict[str, Any]) -> bool:
    """Return whether these arguments contradict each other or the task."""
    task, whole = kind(id_), options.get("unit") == "sequence"
    sequential = options.get("fill") == "sequential" and whole
    order = options.get("order", "left_to_right")
    fixed, by_score = order in ("left_to_right", "random"), order in ("confidence", "margin", "entropy")
    tokens = options.get("actions", "token") == "token"
    ordered = not fixed if not whole else by_score and tokens
    drawn = tokens and options.get("temperature", 0.0) > 0
    masked = options.get("mask_actions", False) and whole and not (task.static_masks or task.masked)
    reward = options.get("reward")
    narrow = options.get("max_length") == 24 and {"candidates", "labels"} & {field.name for field in task.fields}
    offered = task.gold | (task.optional_gold if options.get("rule") else set())
    misfit = isinstance(reward, str) and not lm_gym.make_reward(reward).gold & offered
    return sequential or ordered or drawn or masked or misfit or bool(narrow)


def combinations() -> list[tuple[str, dict[str, Any]]]:
    """Return all pairs (id, arguments), including those that are refused."""
    found = []
    for id_ in IDS:
        own, alone = OPTIONS.get(kind(id_).name, [{}]), OPTIONS_ALONE.get(kind(id_).name, [])
        tried = {name for options in (*own, *alone) for name in options} - set(COMBINED) - set(ALONE) - SOURCES
        assert {field.name for field in fields(kind(id_).Options)} == tried, "an option of a task goes untested"
        combined = [dict(zip(COMBINED, values, strict=True)) for values in itertools.product(*COMBINED.values())]
        found += [(id_, {**options, **more}) for options in combined for more in own]
        found += [(id_, {name: value}) for name, values in ALONE.items() for value in values]
        found += [(id_, options) for options in alone]
    return found


def label(case: tuple[str, dict[str, Any]]) -> str:
    """Return the name of a case in the output of pytest."""
    id_, options = case
    if len(options) > 1:
        return "-".join([id_.partition("/")[2], *(str(value).replace(" ", "") for value in options.values())])
    return f"{id_.partition('/')[2]}-" + "-".join(f"{name}={value}" for name, value in options.items())


CASES = [pytest.param(*case, id=label(case)) for case in combinations() if not refused(*case)]
REFUSED = [pytest.param(*case, id=label(case)) for case in combinations() if refused(*case)]


@cache
def dataset(id_: str) -> lm_gym.Dataset:
    """Return the forty shortest texts of each split of the builtin data."""
    whole = load_data(kind(id_), "builtin")
    splits = {
        name: corpus.take(np.argsort(np.diff(corpus.offsets), kind="stable")[:40])
        for name, corpus in whole.splits.items()
    }
    return lm_gym.Dataset(f"short {whole.name}", splits, {}, "")


@cache
def tokenizer(id_: str) -> str | Tokenizer:
    """Return the shipped tokenizer, or a small one for puzzles, whose steps need many distributions."""
    if "clues" not in {field.name for field in kind(id_).fields}:
        return "tiny"
    return word_level("0123456789+=")


def word_level(characters: str) -> Tokenizer:
    """Make a tokenizer of these characters, with five special tokens first."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(words[:5])
    return made


def single(id_: str, options: dict[str, Any]) -> gymnasium.Env:
    """Make a single environment."""
    return gymnasium.make(id_, dataset=dataset(id_), tokenizer=tokenizer(id_), **options)


def vector(id_: str, options: dict[str, Any], num_envs: int, mode: str) -> gymnasium.vector.VectorEnv:
    """Make a vector environment."""
    sources = {"dataset": dataset(id_), "tokenizer": tokenizer(id_)}
    return gymnasium.make_vec(id_, num_envs=num_envs, autoreset_mode=mode, **sources, **options)
