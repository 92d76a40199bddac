"""Saving and loading of agents: a zip with plain values as JSON and tensors as safetensors, without pickles."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch as th
from safetensors import SafetensorError
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import open_path
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces, get_device, get_system_info

from lm_gym.agents.algorithms import legacy
from lm_gym.agents.algorithms.plain_values import NotPlainError, Packer, Unpacker
from lm_gym.agents.model.devices import check_device

AGENT, TENSORS, SYSTEM = "agent.json", "tensors.safetensors", "system_info.txt"
FORMAT = 1
# Errors raised by files that no agent wrote.
_DAMAGE = (KeyError, TypeError, AttributeError, IndexError, UnicodeDecodeError, json.JSONDecodeError, EOFError,
           NotImplementedError, RuntimeError, ArithmeticError, AssertionError, zlib.error, SafetensorError)  # fmt: skip
File = str | Path | io.BufferedIOBase


@dataclass(frozen=True)
class Saved:
    """The content of a file.

    Attributes:
        algorithm: the name of the class that saved it; None for an old file without it.
        attributes: the attributes of the agent, by name.
        states: state dicts, by the name of the object.
        missing: attributes that are not saved because a file cannot hold them.
    """

    algorithm: str | None
    attributes: dict[str, Any]
    states: dict[str, Any]
    missing: tuple[str, ...] = ()


class SavedAlgorithm(BaseAlgorithm):
    """Stable-Baselines3's `save`, `load` and `set_parameters`, with files without pickles.

    A file contains the attributes of an agent that are plain values (see `plain_values`), except those that the
    constructor creates (`_excluded_save_params`), and the state dicts of the objects in `_get_torch_save_params`.
    The class of the policy is saved by its name in `policy_aliases`. Old files can also be read (see `legacy`).
    """

    def save(self, path: File, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None) -> None:
        """Save the agent.

        Args:
            path: the path of the file (`.zip` is added if it has no suffix), or an open file.
            exclude: attributes that are not saved.
            include: attributes that are saved although they are excluded by default.

        Raises:
            TypeError: a file cannot hold an attribute. The message names the attribute and says what to do.
        """
        left_out = set(exclude or ())
        states = self.get_parameters()
        skipped = {*self._excluded_save_params(), *(name.split(".")[0] for name in states)} - set(include or ())
        attributes = {name: value for name, value in self.__dict__.items() if name not in skipped}
        attributes["policy_class"] = self._policy_name()
        packer, packed, missing = Packer(), {}, []
        for name, value in attributes.items():
            try:
                found = packer.pack(value, name)
            except NotPlainError as error:
                if name in left_out:
                    missing.append(name)
                    continue
                raise TypeError(
                    f"{error}, which a saved agent cannot hold (numbers, strings, lists, dictionaries, arrays, "
                    f"tensors, classes of torch.nn): save(path, exclude=[{name!r}]), and load(path, {name}=…) again"
                ) from error
            if name not in left_out:
                packed[name] = found
        content = {
            "format": FORMAT,
            "algorithm": type(self).__name__,
            "attributes": packed,
            "states": packer.pack(states, "states"),
            "missing": missing,
        }
        _write(path, content, packer.tensors)

    @classmethod
    def load(
        cls,
        path: File,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Load a saved agent.

        Args:
            path: the path of the file, or an open file.
            env: the environment for further training; not needed for prediction.
            device: the device of the agent.
            custom_objects: attributes that replace those of the file, which are then not read.
            print_system_info: print the machine and the versions, those of the file and the current ones.
            force_reset: unused, as an agent restores its episodes itself; Stable-Baselines3 has this argument.
            kwargs: attributes that replace those of the file.

        Raises:
            ValueError: the file contains no agent or an agent of another algorithm, or lacks or contradicts an
                attribute.
        """
        given = {**(custom_objects or {}), **kwargs}
        saved = read(path, custom_objects or (), device, print_system_info)
        cls._check(saved, given, kwargs)
        attributes = {**saved.attributes, **given}
        policy_class = attributes["policy_class"]
        if isinstance(policy_class, str):
            attributes["policy_class"] = policy_class = cls._policy_of(policy_class)
        if env is not None:
            env = cls._wrap_env(env, attributes["verbose"])
            check_for_correct_spaces(env, attributes["observation_space"], attributes["action_space"])
            attributes["n_envs"] = env.num_envs
        agent = cls(policy=policy_class, env=env, device=device, _init_setup_model=False)  # type: ignore[call-arg]
        agent.__dict__.update(attributes)
        agent._setup_model()
        agent.set_parameters(saved.states, exact_match=True, device=device)
        return agent

    def set_parameters(
        self,
        load_path_or_dict: Any,
        exact_match: bool = True,
        device: th.device | str = "auto",
    ) -> None:
        """Load the state dicts of a file or a dictionary (see Stable-Baselines3)."""
        if not isinstance(load_path_or_dict, dict):
            load_path_or_dict = read(load_path_or_dict, (), device).states
        super().set_parameters(load_path_or_dict, exact_match, device)

    @classmethod
    def _check(cls, saved: Saved, given: Mapping[str, Any], kwargs: Mapping[str, Any]) -> None:
        if saved.algorithm not in (None, cls.__name__):
            raise ValueError(
                f"the agent was saved by {saved.algorithm}, not by {cls.__name__}: load it with that class"
            )
        for name in saved.missing:
            if name not in given:
                raise ValueError(f"a file cannot hold {name}, so it is missing: pass it as load(path, {name}=…)")
        theirs = saved.attributes.get("policy_kwargs")
        if "policy_kwargs" in kwargs and theirs not in (None, kwargs["policy_kwargs"]):
            raise ValueError(f"policy_kwargs are {theirs} in the file, not {kwargs['policy_kwargs']}: leave them out")

    def _policy_name(self) -> str | type[BasePolicy]:
        names = [name for name, kind in self.policy_aliases.items() if kind is self.policy_class]
        return names[0] if names else self.policy_class

    @classmethod
    def _policy_of(cls, name: str) -> type[BasePolicy]:
        if name not in cls.policy_aliases:
            raise ValueError(f"policy {name!r} is unknown to {cls.__name__}: load(path, policy_class=…)")
        return cls.policy_aliases[name]


def read(path: File, given: Collection[str], device: th.device | str, print_system_info: bool = False) -> Saved:
    """Read a file.

    Args:
        path: the path of the file, or an open file.
        given: attributes that the caller provides; they are not read.
        device: the device for tensors.
        print_system_info: print the machine and the versions, then and now.

    Raises:
        ValueError: the file is not a zip, contains no agent, or is damaged.
    """
    check_device(device)
    device = get_device(device)
    file = open_path(path, "r", suffix="zip")
    try:
        with zipfile.ZipFile(file) as archive:
            if print_system_info:
                print(f"now:\n{get_system_info(print_info=False)[1]}\nthen:\n{archive.read(SYSTEM).decode()}")
            names = archive.namelist()
            if AGENT in names:
                return _read(archive, given, device)
            if legacy.AGENT in names:
                return Saved(None, *legacy.read(archive, given, device))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not an agent: it is not a zip file, or a damaged one: {error}") from error
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged, and holds no whole agent: {type(error).__name__}: {error}") from error
    finally:
        if isinstance(path, str | Path):
            file.close()
    raise ValueError(f"{path} has no agent in it: neither {AGENT} nor {legacy.AGENT} of an older version")


def _read(archive: zipfile.ZipFile, given: Collection[str], device: th.device | str) -> Saved:
    content = json.loads(archive.read(AGENT))
    if content["format"] > FORMAT:
        raise ValueError(
            f"the agent has format {content['format']}, but this version reads formats up to {FORMAT}: update lm-gym"
        )
    unpacker = Unpacker(safetensors.torch.load(archive.read(TENSORS)), device)
    attributes = {name: unpacker.unpack(found) for name, found in content["attributes"].items() if name not in given}
    return Saved(content["algorithm"], attributes, unpacker.unpack(content["states"]), tuple(content["missing"]))


def _write(path: File, content: Mapping[str, Any], tensors: dict[str, th.Tensor]) -> None:
    file = open_path(path, "w", suffix="zip")
    try:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(AGENT, json.dumps(content, allow_nan=False))
            archive.writestr(TENSORS, safetensors.torch.save(tensors))
            archive.writestr(SYSTEM, get_system_info(print_info=False)[1])
    finally:
        if isinstance(path, str | Path):
            file.close()
