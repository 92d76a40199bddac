"""Bounds of arguments, declared in their types and checked here.

An argument declares its range in its annotation, `sigma: PositiveFloat = 1.0` or
`decay: Annotated[float, Interval(0, 1, open_low=True)] = 1.0`, and `bounded` (a decorator of functions and dataclasses)
or `Bounded` (a base class) checks every call. All numbers must be finite.
"""

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from inspect import signature
from numbers import Integral, Real
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lm_gym.naming import among

F = TypeVar("F", bound=Callable[..., Any])
_NAMES: Mapping[Any, str] = {bool: "True or False", str: "a string", NoneType: "None"}  # of types, in messages


@dataclass(frozen=True)
class Interval:
    """The range of a number.

    Attributes:
        low: its lower end.
        high: its upper end.
        open_low: the lower end itself is excluded.
        open_high: the upper end itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        if self.low > -math.inf and self.high < math.inf:
            left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
            return f"in {left}{self.low:g}, {self.high:g}{right}"
        if self.low > -math.inf:
            return f"above {self.low:g}" if self.open_low else f"at least {self.low:g}"
        if self.high < math.inf:
            return f"below {self.high:g}" if self.open_high else f"at most {self.high:g}"
        return "finite"

    __repr__ = __str__  # the help of a command shows it


PositiveInt = Annotated[int, Interval(1)]
NonNegativeInt = Annotated[int, Interval(0)]
PositiveFloat = Annotated[float, Interval(0, open_low=True)]
NonNegativeFloat = Annotated[float, Interval(0)]
UnitInterval = Annotated[float, Interval(0, 1)]
OpenUnitInterval = Annotated[float, Interval(0, 1, open_low=True, open_high=True)]
Fraction = Annotated[float, Interval(0, 1, open_high=True)]
PositiveFraction = Annotated[float, Interval(0, 1, open_low=True)]


def bounded(target: F) -> F:
    """Check the arguments of every call of a function, or of a dataclass's constructor, against their types."""
    if isinstance(target, type):
        target.__init__ = _checked(target.__init__, target)  # type: ignore[misc]
        return target
    return _checked(target, target)


class Bounded:
    """Base class whose constructor, and those of its subclasses, check their arguments against their types.

    Attributes:
        library_types: types of arguments that are passed to a library's constructor.
    """

    library_types: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in cls.__dict__:
            cls.__init__ = _checked(cls.__init__, cls)  # type: ignore[method-assign]


def check_arguments(target: Callable[..., Any], given: Mapping[str, Any], prefix: str = "") -> None:
    """Check arguments against the types that a function or the constructors of a class declare.

    Args:
        target: the function or class; the bases of a class declare the arguments that it passes to them.
        given: arguments by name; those without a declared type must not be NaN or infinite.
        prefix: prefix of their names in messages.

    Raises:
        ValueError: naming the argument, its bound and the value.
    """
    types = declared_types(target)
    for name, value in given.items():
        check_value(prefix + name, value, types.get(name, Any))


def argument_names(kind: type) -> list[str]:
    """Return the names of a constructor's arguments, including those that it passes to its bases by `**`."""
    names: list[str] = []
    for each in kind.__mro__:
        if "__init__" in vars(each):
            _, *given = signature(vars(each)["__init__"]).parameters.values()
            names += [p.name for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in names]
            if not any(p.kind is p.VAR_KEYWORD for p in given):
                break
    return names


def check_keywords(target: type, given: Mapping[str, Any], where: str, name: str, fixed: Container[str] = ()) -> None:
    """Check that a class accepts these arguments, and that they are within their bounds.

    Args:
        target: the class.
        given: arguments by name.
        where: the setting that contains them, for messages.
        name: name of the class, for messages.
        fixed: arguments that cannot be given.

    Raises:
        ValueError: an argument is unknown or out of bounds; the message suggests the nearest name, or states the bound.
    """
    known = [key for key in argument_names(target) if key not in fixed]
    for key in given:
        if key not in known:
            raise ValueError(f"{where}: {name} has no argument {key!r}{among(key, known)}")
    check_arguments(target, given, f"{where}.")


@cache
def declared_types(target: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the declared types of the arguments of a function, or of a class and its bases."""
    if not isinstance(target, type):
        return _own_types(target)
    found: dict[str, Any] = {}
    for kind in reversed(target.__mro__):
        if "__init__" in kind.__dict__:
            found |= _own_types(kind.__dict__["__init__"])
        found |= kind.__dict__.get("library_types", {})
    return found


def check_value(name: str, value: Any, declared: Any) -> None:
    """Check one value against its declared type.

    This checks numbers, literals, and the entries of sequences and mappings. It does not check other types, but if the
    type also contains numbers (`float | Any`), a number must be within their bounds.

    Raises:
        ValueError: naming the argument, its bound and the value.
    """
    arms = list(_arms(declared))
    numeric = any(kind in (int, float) for kind, _ in arms)
    if any(_accepts(arm, value, numeric) for arm in arms):
        for kind, _ in arms:
            _check_entries(name, value, kind)
        return
    interval = next((interval for kind, interval in arms if kind in (int, float)), None)
    choices = [choice for kind, _ in arms if get_origin(kind) is Literal for choice in get_args(kind)]
    if isinstance(value, str) and choices:
        raise ValueError(f"unknown {name}={value!r}{among(value, map(str, choices))}")
    if interval is not None and _is_number(value):
        whole = any(kind is int for kind, _ in arms) and not any(kind is float for kind, _ in arms)
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
        if whole and not isinstance(value, Integral):
            raise ValueError(f"{name} must be a whole number, got {value}")
        raise ValueError(f"{name} must be {interval}, got {value}")
    if numeric or choices:
        number = "a number" if any(kind is float for kind, _ in arms) else "a whole number"
        named = [number] * numeric + [repr(choice) for choice in choices] + ["None"] * ((NoneType, None) in arms)
        raise ValueError(f"{name} must be {' or '.join(named)}, got {value!r}")
    if _is_number(value):
        raise ValueError(f"{name} must be finite, got {value}")
    named = [_NAMES.get(kind) or str(getattr(kind, "__name__", kind)) for kind, _ in arms]
    raise ValueError(f"{name} must be {' or '.join(named)}, got {value!r}")


def _checked(function: F, target: Callable[..., Any]) -> F:
    names = list(signature(function).parameters)

    @wraps(function)
    def check_and_call(*arguments: Any, **keywords: Any) -> Any:
        check_arguments(target, {**dict(zip(names, arguments, strict=False)), **keywords})
        return function(*arguments, **keywords)

    return check_and_call  # type: ignore[return-value]


def _own_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types that a function declares, except those with names that only a type checker imports."""
    named = [p.name for p in signature(function).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    written = {name: note for name, note in getattr(function, "__annotations__", {}).items() if name in named}
    found: dict[str, Any] = {}
    for name, annotation in written.items():
        try:
            one = SimpleNamespace(__annotations__={name: annotation}, __wrapped__=function)
            found |= get_type_hints(one, include_extras=True)
        except NameError:
            found[name] = Any
    return found


def _arms(declared: Any, interval: Interval | None = None) -> Iterator[tuple[Any, Interval | None]]:
    """Return the members of a union type, each with its interval."""
    origin = get_origin(declared)
    if origin is Annotated:
        base, *marks = get_args(declared)
        yield from _arms(base, next((mark for mark in marks if isinstance(mark, Interval)), interval))
    elif origin in (Union, UnionType):
        for arm in get_args(declared):
            yield from _arms(arm, interval)
    else:
        yield declared, interval if interval is not None or declared not in (int, float) else Interval()


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _accepts(arm: tuple[Any, Interval | None], value: Any, numeric: bool) -> bool:
    """Return whether a value may be of this kind; with `numeric`, the type contains numbers, and they fit no other."""
    kind, interval = arm
    if kind in (int, float):
        whole = kind is float or isinstance(value, Integral)
        return _is_number(value) and whole and math.isfinite(value) and interval is not None and value in interval
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if _is_number(value):
        return not numeric and math.isfinite(value)
    if kind is Any or not isinstance(get_origin(kind) or kind, type):
        return True
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    return not isinstance(value, str | bool | None) or isinstance(value, get_origin(kind) or kind)


def _check_entries(name: str, value: Any, kind: Any) -> None:
    """Check the entries of a sequence or a mapping against the types of this kind's entries."""
    origin, entries = get_origin(kind), [entry for entry in get_args(kind) if entry is not Ellipsis]
    if not (isinstance(origin, type) and isinstance(value, origin) and entries):
        return
    if issubclass(origin, Mapping) and isinstance(value, Mapping):
        for key, entry in value.items():
            check_value(f"{name}.{key}", entry, entries[1])
    elif issubclass(origin, Sequence) and isinstance(value, Sequence):
        for place, entry in enumerate(value):
            check_value(f"{name}[{place}]", entry, entries[min(place, len(entries) - 1)])
