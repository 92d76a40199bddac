"""Every registered environment with every combination of arguments that changes a space or the dynamics."""

import itertools
from dataclasses import fields
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator, registry
from gymnasium.vector import AutoresetMode

import lm_gym
from lm_gym.envs.arguments import ACTIONS, UNITS, EnvArguments
from lm_gym.envs.sampler import SAMPLINGS
from lm_gym.tasks import load_data

MODES = [mode.name for mode in AutoresetMode]
IDS = sorted(id_ for id_, spec in registry.items() if spec.namespace == "lm_gym")
COMBINED = {"unit": UNITS, "actions": ACTIONS, "dense": (True, False), "mask_actions": (False, True)}
OPTIONS = {  # of tasks, each combined with all of the above
    "masked_lm": [{"fill": f, "mask_probability": p} for f in ("parallel", "sequential") for p in (0.15, 0.4)],
}
WORDED = {
    "template": "{text} It was {mask}.",
    "label_words": {"negative": "bad", "neutral": ["so", "now"], "positive": "good"},
    "calibrate": True,
    "costs": {"negative": {"positive": 5.0}},
}
OPTIONS_ALONE = {"text_classification": [WORDED]}  # which change what a text says, and neither a space nor the dynamics
ALONE = {  # one at a time, beside the first of each of the others
    "sampling": SAMPLINGS[1:],
    "reward": (*lm_gym.REWARDS, {"accuracy": 1.0, "balanced_accuracy": 0.5}),
    "max_episode_steps": (2,),
    "max_length": (24,),
    "split": ("test",),
    "render_mode": ("ansi",),
}
SOURCES = {"dataset", "tokenizer", "reward_kwargs"}  # what is played, not how
assert {field.name for field in fields(EnvArguments)} == {*COMBINED, *ALONE, *SOURCES}


def kind(id_: str) -> type[lm_gym.Task]:
    """The task of an environment."""
    return load_env_creator(registry[id_].entry_point).task_class


def refused(id_: str, options: dict[str, Any]) -> bool:
    """Whether these arguments contradict one another, or the task."""
    task, whole = kind(id_), options.get("unit") == "sequence"
    sequential = options.get("fill") == "sequential" and whole
    masked = options.get("mask_actions", False) and whole and not task.static_masks
    reward = options.get("reward")
    return sequential or masked or (isinstance(reward, str) and not lm_gym.make_reward(reward).gold & task.gold)


def combinations() -> list[tuple[str, dict[str, Any]]]:
    """(id, arguments), those that are refused included."""
    found = []
    for id_ in IDS:
        own, alone = OPTIONS.get(kind(id_).name, [{}]), OPTIONS_ALONE.get(kind(id_).name, [])
        tried = {name for options in (*own, *alone) for name in options}
        assert {field.name for field in fields(kind(id_).Options)} == tried, "an option of a task goes untested"
        combined = [dict(zip(COMBINED, values, strict=True)) for values in itertools.product(*COMBINED.values())]
        found += [(id_, {**options, **more}) for options in combined for more in own]
        found += [(id_, {name: value}) for name, values in ALONE.items() for value in values]
        found += [(id_, options) for options in alone]
    return found


def label(case: tuple[str, dict[str, Any]]) -> str:
    """A test's name."""
    id_, options = case
    if len(options) > 1:
        return "-".join([id_.partition("/")[2], *(str(value).replace(" ", "") for value in options.values())])
    return f"{id_.partition('/')[2]}-" + "-".join(f"{name}={value}" for name, value in options.items())


CASES = [pytest.param(*case, id=label(case)) for case in combinations() if not refused(*case)]
REFUSED = [pytest.param(*case, id=label(case)) for case in combinations() if refused(*case)]


@cache
def dataset(id_: str) -> lm_gym.Dataset:
    """Forty texts of each split of the builtin data, the shortest."""
    whole = load_data(kind(id_), "builtin")
    splits = {
        name: corpus.take(np.argsort(np.diff(corpus.offsets), kind="stable")[:40])
        for name, corpus in whole.splits.items()
    }
    return lm_gym.Dataset(f"short {whole.name}", splits, {}, "")


def single(id_: str, options: dict[str, Any]) -> gymnasium.Env:
    """One text at a time."""
    return gymnasium.make(id_, dataset=dataset(id_), **options)


def vector(id_: str, options: dict[str, Any], num_envs: int, mode: str) -> gymnasium.vector.VectorEnv:
    """Many at once."""
    return gymnasium.make_vec(id_, num_envs=num_envs, dataset=dataset(id_), autoreset_mode=mode, **options)
