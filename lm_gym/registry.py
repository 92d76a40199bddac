"""Registries of things that users choose by name, including their own."""

import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from lm_gym.naming import among

T = TypeVar("T")


class UserCodeError(ValueError):
    """Error: a user's code failed, or returned an invalid value."""

    @classmethod
    def of(cls, what: str, error: Exception) -> "UserCodeError":
        """Return the error for code that raised.

        Args:
            what: the name of the code.
            error: the exception; the message says where it was raised.
        """
        *_, last = traceback.extract_tb(error.__traceback__)
        return cls(f"{what} failed: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})")


class Registry(dict[str, T]):
    """A dictionary from names to entries.

    `find("my_module:name")` imports `my_module` and returns the entry that it defines or registers as `name`.
    Afterwards `name` alone is known, too.

    Args:
        what: a singular noun for the entries, for messages.
        entries: the initial entries.
    """

    def __init__(self, what: str, entries: Mapping[str, T]) -> None:
        super().__init__(entries)
        self.what = what

    def register(self, name: str, value: T) -> T:
        """Add an entry.

        Raises:
            ValueError: the name is already taken, empty, or contains a colon.
        """
        if not name or ":" in name:
            raise ValueError(f"{self.what} name {name!r}: give a name without a colon")
        if name in self and not _same(self[name], value):
            raise ValueError(f"{self.what} {name!r} is taken by {self[name]!r}: register yours under another name")
        self[name] = value
        return value

    def find(self, name: str) -> T:
        """Look up a name.

        Args:
            name: a key, or `module:name` for an entry in a user's module.

        Raises:
            ValueError: the name (the message suggests the nearest one) or the module is unknown.
        """
        if name in self:
            return self[name]
        module_name, colon, own = name.rpartition(":")
        if not colon:
            raise ValueError(f"unknown {self.what} {name!r}{among(name, self)}")
        module = import_user_module(module_name, f"{self.what} {name!r}")
        if hasattr(module, own):
            return self.register(own, getattr(module, own))
        if own not in self:
            raise ValueError(f"{self.what} {name!r}: {module.__file__} neither defines nor registers {own!r}")
        return self[own]


class Registrar(Protocol[T]):
    """A function that registers classes; see `class_registrar`."""

    def __call__(self, kind: type[T], name: str | None = None) -> type[T]:
        """Add a class."""


def class_registrar(registry: Registry[type[T]]) -> Registrar[T]:
    """Return a function, also usable as a decorator, that adds a user's classes to a registry.

    It takes the class and a name, by default that of the class, and returns the class. It raises ValueError if the name
    is taken.
    """

    def register(kind: type[T], name: str | None = None) -> type[T]:
        return registry.register(name or kind.__name__, kind)

    return register


def find_class(registry: Registry[type[T]], name: str, base: Any) -> type[T]:
    """Look up a class.

    Raises:
        ValueError: as `Registry.find`, or the class is not a subclass of `base`.
    """
    found = registry.find(name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{registry.what} {name!r} is {found!r}: give a subclass of {base.__name__}")
    return found


def own_name(name: str) -> str:
    """Return a name without its module: `MyES` for `my_module:MyES`."""
    return name.rpartition(":")[2]


def import_user_module(name: str, wanted_for: str) -> ModuleType:
    """Import a user's module, also from the current folder.

    Raises:
        ValueError: the module does not exist; the message names the folder.
        UserCodeError: the module raises when it is imported.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise UserCodeError(f"{wanted_for}: module {name!r}", error) from error
        raise ValueError(
            f"{wanted_for}: no module {name!r} in {here} or on PYTHONPATH: run from the folder that contains it"
        ) from None
    except Exception as error:
        raise UserCodeError.of(f"{wanted_for}: module {name!r}", error) from error


def _same(one: object, other: object) -> bool:
    """Return whether two entries are the same definition; rerunning a module defines its classes again."""
    names = [(getattr(value, "__module__", None), getattr(value, "__qualname__", None)) for value in (one, other)]
    return one is other or (names[0] == names[1] and names[0][1] is not None)
