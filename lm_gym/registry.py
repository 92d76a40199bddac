"""Names of things that users choose by name, their own included."""

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
    """Code of a user's module that failed.

    Args:
        what: names the code.
        error: what it raised; the message says where.
    """

    def __init__(self, what: str, error: BaseException) -> None:
        *_, last = traceback.extract_tb(error.__traceback__)
        super().__init__(f"{what} failed: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})")


class Registry(dict[str, T]):
    """A dictionary from names to what they stand for.

    `find("my_module:name")` imports `my_module` and returns what it defines as `name`, or registers under that name.
    Afterwards `name` alone is known too.

    Args:
        what: what the entries are, in the singular, for messages.
        entries: the first entries.
    """

    def __init__(self, what: str, entries: Mapping[str, T]) -> None:
        super().__init__(entries)
        self.what = what

    def register(self, name: str, value: T) -> T:
        """Add an entry.

        Raises:
            ValueError: the name is taken by something else, or is empty or holds a colon.
        """
        if not name or ":" in name:
            raise ValueError(f"{self.what} name {name!r}: give a name without a colon")
        if name in self and not _same(self[name], value):
            raise ValueError(f"{self.what} {name!r} is taken by {self[name]!r}: register yours under another name")
        self[name] = value
        return value

    def find(self, name: str) -> T:
        """Look a name up.

        Args:
            name: a key, or `module:name` for an entry of a module of the user's.

        Raises:
            ValueError: there is no such name (the message has the nearest one), or no such module.
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
            raise ValueError(f"{self.what} {name!r}: {module.__file__} registers and defines no {own!r}")
        return self[own]


class Registrar(Protocol[T]):
    """What `class_registrar` gives."""

    def __call__(self, kind: type[T], name: str | None = None) -> type[T]:
        """Add a class."""


def class_registrar(registry: Registry[type[T]]) -> Registrar[T]:
    """The function, also a decorator, that adds classes of a user's own to a registry.

    It takes the class and a name, by default the class's own, returns the class, and raises ValueError where the name
    is taken.
    """

    def register(kind: type[T], name: str | None = None) -> type[T]:
        return registry.register(name or kind.__name__, kind)

    return register


def find_class(registry: Registry[type[T]], name: str, base: Any) -> type[T]:
    """Look a class up.

    Raises:
        ValueError: as `Registry.find`, or it is no subclass of `base`.
    """
    found = registry.find(name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{registry.what} {name!r} is {found!r}: give a subclass of {base.__name__}")
    return found


def own_name(name: str) -> str:
    """A name without the module that defines it: `MyES` of `my_module:MyES`."""
    return name.rpartition(":")[2]


def import_user_module(name: str, wanted_for: str) -> ModuleType:
    """Import a user's module, from the current folder too.

    Raises:
        ValueError: there is no such module; the message says where it was looked for.
        UserCodeError: the module fails while it is imported.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise UserCodeError(f"{wanted_for}: module {name!r}", error) from error  # lacks what it imports
        raise ValueError(
            f"{wanted_for}: no module {name!r} in {here} or on PYTHONPATH: run from the folder that holds it"
        ) from None
    except Exception as error:
        raise UserCodeError(f"{wanted_for}: module {name!r}", error) from error


def _same(one: object, other: object) -> bool:
    """Whether two entries are one definition: a module that is run again defines its classes again."""
    names = [(getattr(value, "__module__", None), getattr(value, "__qualname__", None)) for value in (one, other)]
    return one is other or (names[0] == names[1] and names[0][1] is not None)
