"""Conversion of values to JSON and named tensors, and back, so that no code runs when a checkpoint is read.

None, numbers, strings, lists and dictionaries are stored directly. Every other value is a dictionary with one key:

    {"$float": "-inf"}                          a float that JSON cannot represent
    {"$tensor": name}, {"$array": name}         the name of a torch tensor or a numpy array
    {"$scalar": name}                           a numpy number
    {"$tuple": [...]}, {"$deque": [..., n]}     a tuple; a deque and its maximum length
    {"$dict": [[key, value], ...]}              a dictionary whose keys are not all strings
    {"$path": "..."}                            a path
    {"$linear": [start, end, fraction]}         Stable-Baselines3's LinearSchedule; constant schedules are numbers
    {"$space": [kind, arguments]}               a Gymnasium space
    {"$class": "torch.nn.modules.activation:Tanh"}  a class of one of the `LIBRARIES`
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

LIBRARIES = ("torch.nn.", "torch.optim.", "stable_baselines3.common.", "sb3_contrib.common.")
_SPACES: dict[str, tuple[type[spaces.Space[Any]], tuple[str, ...]]] = {
    "Box": (spaces.Box, ("low", "high", "dtype")),
    "Discrete": (spaces.Discrete, ("n", "start")),
    "MultiDiscrete": (spaces.MultiDiscrete, ("nvec", "start", "dtype")),
    "MultiBinary": (spaces.MultiBinary, ("n",)),
    "Tuple": (spaces.Tuple, ("spaces",)),
    "Dict": (spaces.Dict, ("spaces",)),
}


class NotPlainError(TypeError):
    """A checkpoint cannot hold a value."""


class Packer:
    """Convert values to JSON.

    Attributes:
        tensors: the tensors in the values, contiguous and on the CPU, by name.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, th.Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}  # a tensor that occurs twice is stored once
        self._held: list[th.Tensor] = []  # so that addresses in `_names` are not reused

    def pack(self, value: Any, where: str) -> Any:
        """Convert a value to JSON.

        Args:
            value: any value.
            where: its name, used for its tensors and in messages.

        Raises:
            NotPlainError: if it is or contains a value that is not listed above.
        """
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, np.generic):
            return {"$scalar": self._array(np.asarray(value), where)}
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": repr(value)}
        if isinstance(value, th.Tensor):
            return {"$tensor": self._tensor(value.detach(), where)}
        if isinstance(value, np.ndarray):
            return {"$array": self._array(value, where)}
        if isinstance(value, Mapping) and not isinstance(value, spaces.Space):
            return self._mapping(value, where)
        if isinstance(value, list | tuple | deque):
            items = [self.pack(item, f"{where}.{i}") for i, item in enumerate(value)]
            if isinstance(value, deque):
                return {"$deque": [items, value.maxlen]}
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, PurePath):
            return {"$path": str(value)}
        return self._object(value, where)

    def _mapping(self, value: Mapping[Any, Any], where: str) -> Any:
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: self.pack(item, f"{where}.{key}") for key, item in value.items()}
        pairs = [[self.pack(key, f"key of {where}"), self.pack(item, f"{where}.{key}")] for key, item in value.items()]
        return {"$dict": pairs}

    def _object(self, value: Any, where: str) -> Any:
        if isinstance(value, FloatSchedule):
            return self.pack(value.value_schedule, where)
        if isinstance(value, ConstantSchedule):
            return self.pack(value.val, where)
        if isinstance(value, LinearSchedule):
            return {"$linear": self.pack([value.start, value.end, value.end_fraction], where)}
        for kind, (space, names) in _SPACES.items():
            if type(value) is space:
                arguments = {name: self._argument(value, name) for name in names}
                return {"$space": [kind, self.pack(arguments, where)]}
        if isinstance(value, type) and known_class(value.__module__, value.__qualname__) is value:
            return {"$class": f"{value.__module__}:{value.__qualname__}"}
        raise NotPlainError(f"{where} is {value!r}")

    def _argument(self, space: Any, name: str) -> Any:
        found = getattr(space, name)
        return str(found) if name == "dtype" else dict(found) if isinstance(found, Mapping) else found

    def _array(self, array: NDArray[Any], where: str) -> str:
        if array.dtype.kind not in "biuf":
            raise NotPlainError(f"{where} is an array of {array.dtype}")
        return self._tensor(th.from_numpy(np.array(array, order="C")), where)

    def _tensor(self, tensor: th.Tensor, where: str) -> str:
        address = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        if address in self._names and tensor.numel():
            return self._names[address]
        name = where
        while name in self.tensors:
            name += "'"
        self._names[address] = name
        self._held.append(tensor)
        own = tensor.untyped_storage().nbytes() == tensor.nbytes
        self.tensors[name] = tensor.cpu().contiguous() if own else tensor.cpu().contiguous().clone()
        return name


class Unpacker:
    """Convert the output of a Packer back to values.

    Args:
        tensors: the tensors, by name.
        device: the device for tensors; arrays are numpy arrays.
    """

    def __init__(self, tensors: Mapping[str, th.Tensor], device: th.device | str) -> None:
        self._tensors, self._device = tensors, device

    def unpack(self, packed: Any) -> Any:
        """Convert JSON to a value. Tensors and arrays are copied.

        Raises:
            ValueError: if no Packer made the JSON, or a class is not one of `LIBRARIES`.
        """
        if isinstance(packed, list):
            return [self.unpack(item) for item in packed]
        if not isinstance(packed, dict):
            return packed
        if len(packed) == 1:
            ((tag, content),) = packed.items()
            if tag.startswith("$"):
                return self._tagged(tag, content)
        return {key: self.unpack(item) for key, item in packed.items()}

    def _tagged(self, tag: str, content: Any) -> Any:
        match tag:
            case "$float":
                return float(content)
            case "$tensor":
                return self._tensors[content].to(self._device, copy=True)
            case "$array":
                return self._tensors[content].numpy().copy()
            case "$scalar":
                return self._tensors[content].numpy()[()]
            case "$tuple":
                return tuple(self.unpack(content))
            case "$deque":
                return deque(self.unpack(content[0]), maxlen=content[1])
            case "$dict":
                return {self.unpack(key): self.unpack(item) for key, item in content}
            case "$path":
                return Path(content)
            case "$linear":
                return LinearSchedule(*self.unpack(content))
            case "$space":
                return self._space(*content)
            case "$class":
                return self._class(content)
        raise ValueError(f"{tag} is not a kind of value")

    def _space(self, kind: str, packed: Any) -> spaces.Space[Any]:
        arguments = self.unpack(packed)
        if "dtype" in arguments:
            arguments["dtype"] = np.dtype(arguments["dtype"]).type
        if kind == "Dict":
            arguments = {"spaces": OrderedDict(arguments["spaces"])}  # in this order
        return _SPACES[kind][0](**arguments)

    def _class(self, name: str) -> type:
        module, _, qualname = name.partition(":")
        found = known_class(module, qualname)
        if found is None:
            raise ValueError(f"{name} is not a class of {', '.join(LIBRARIES)}: pass it to load(…)")
        return found


def known_class(module: str, name: str) -> type | None:
    """Find a class of `LIBRARIES` (modules, optimizers, policies) that is safe to create; None for any other class."""
    if not module.startswith(LIBRARIES):
        return None
    found = getattr(import_module(module), name, None)
    kinds = (th.nn.Module, th.optim.Optimizer)
    return found if isinstance(found, type) and issubclass(found, kinds) and found.__module__ == module else None
