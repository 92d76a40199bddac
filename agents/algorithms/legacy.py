"""Agents saved by version 0.1 and earlier: zip files of Stable-Baselines3, whose JSON contains pickled values.

A pickle can call any function that it names. Here it may only name the entries of `_READABLE`, the classes of
`plain_values.LIBRARIES`, and classes of this package by their old names.
"""

from __future__ import annotations

import base64
import inspect
import io
import json
import pickle
import zipfile
from collections.abc import Collection
from pathlib import PurePath
from typing import Any

import torch as th

from lm_gym.agents.algorithms.plain_values import known_class
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.optimizers.cma_es import as_state, parts

AGENT = "data"
_OURS = ("agents.", "lm_gym.agents.")
_CLASSES = {"LMPolicy": LMPolicy}
_UNUSED = {
    "lr_schedule",
    "rollout_buffer_class",
    "_last_obs",
    "_last_episode_starts",
}  # the constructor makes them again
_HEADS = {"masked_lm": "vocabulary", "token_classification": "labels"}
_READABLE = {
    "builtins": {"set", "frozenset", "complex", "slice", "range", "bytearray"},
    "collections": {"deque", "OrderedDict"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.random._pickle": {"__generator_ctor", "__bit_generator_ctor"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "gymnasium.spaces.box": {"Box"},
    "gymnasium.spaces.dict": {"Dict"},
    "gymnasium.spaces.discrete": {"Discrete"},
    "gymnasium.spaces.multi_binary": {"MultiBinary"},
    "gymnasium.spaces.multi_discrete": {"MultiDiscrete"},
    "gymnasium.spaces.tuple": {"Tuple"},
    "stable_baselines3.common.utils": {"FloatSchedule", "ConstantSchedule", "LinearSchedule"},
}


def read(
    archive: zipfile.ZipFile, given: Collection[str], device: th.device | str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the attributes and state dicts of an old agent, in the form of the current version.

    Args:
        archive: the open file.
        given: attributes that the caller provides; they are not read.
        device: the device for tensors.

    Raises:
        UnpicklingError: if the pickle of an attribute names something forbidden; the message names both.
    """
    attributes = {
        name: _attribute(name, value)
        for name, value in json.loads(archive.read(AGENT)).items()
        if name not in _UNUSED and name not in given
    }
    if "policy_kwargs" in attributes:
        attributes["policy_kwargs"] = _policy_kwargs(attributes["policy_kwargs"])
    states = {}
    for path in map(PurePath, archive.namelist()):
        if path.suffix == ".pth" and path.stem != "pytorch_variables":
            content = io.BytesIO(archive.read(str(path)))
            states[path.stem] = th.load(content, map_location=device, weights_only=True)
    if states.get("optimizer", {}).get("optimizer") == "CMAES":
        states["optimizer"] = _cma_es(states["optimizer"])
    return attributes, states


def _attribute(name: str, value: Any) -> Any:
    if not isinstance(value, dict) or ":serialized:" not in value:
        return value
    try:
        return _Unpickler(io.BytesIO(base64.b64decode(value[":serialized:"]))).load()
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(
            f"{name}: {error}; pass it yourself: load(path, custom_objects={{{name!r}: …}})"
        ) from error


def _policy_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Rename the argument `task` of LMPolicy to `head`."""
    if "task" in kwargs and "head" in inspect.signature(LMPolicy).parameters:
        kwargs = dict(kwargs)
        task = kwargs.pop("task")
        kwargs["head"] = _HEADS.get(task, task)
    return kwargs


class _Unpickler(pickle.Unpickler):
    """Unpickle values that use allowed names only."""

    def find_class(self, module: str, name: str) -> Any:
        """Find a class or function by name.

        Raises:
            UnpicklingError: if it is not allowed.
        """
        if module.startswith(_OURS) and name in _CLASSES:
            return _CLASSES[name]
        if name in _READABLE.get(module, ()):
            return super().find_class(module, name)
        found = known_class(module, name)
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} may not be read from a file")
        return found


# ---------------------------------------------------------------------- CMA-ES


def _cma_es(state: dict[str, Any]) -> dict[str, Any]:
    """Convert a CMA-ES whose state is a pickled strategy of the `cma` package."""
    strategy = _StrategyUnpickler(io.BytesIO(state["strategy"].cpu().numpy().tobytes())).load()
    kept = {name: value for name, value in state.items() if name not in ("strategy", "asked")}
    if not hasattr(strategy, "mean_old"):
        strategy.mean_old = strategy.mean
    return {**kept, **as_state(parts(strategy))}


class _StandIn(dict[Any, Any]):
    """A replacement for an object of `cma`, with its attributes and without its code."""

    def append(self, item: Any) -> None:
        """Ignore the items of a list, which are not needed."""

    extend = append


class _StrategyUnpickler(_Unpickler):
    """Unpickle the attributes of a strategy without creating objects of `cma`."""

    def find_class(self, module: str, name: str) -> Any:
        """See _Unpickler."""
        if module.startswith(("cma.", *_OURS)) or (module, name) == ("numpy.linalg", "eigh"):
            return _StandIn
        return super().find_class(module, name)
