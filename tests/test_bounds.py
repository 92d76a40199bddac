"""Numbers out of their bounds are refused everywhere: in constructors, and on the command line before any work."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lm_gym.agents import monitor, play, reply
from lm_gym.agents.__main__ import main as run_command
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.algorithms.schedules import LearningRate
from lm_gym.agents.compare import Plan
from lm_gym.agents.compare import build_parser as build_compare_parser
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.pretrain import pretrain
from lm_gym.agents.runs.command_line import build_parser, parse_settings
from lm_gym.agents.runs.settings import (
    BudgetSettings,
    CheckpointSettings,
    EnvSettings,
    EvaluationSettings,
    RaySettings,
    Settings,
    SettingsError,
    env_settings,
    leaves,
)
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.spaces import SEARCH_SPACES
from lm_gym.bounds import (
    Bounded,
    Fraction,
    Interval,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    argument_names,
    bounded,
    check_arguments,
    check_keywords,
    declared_types,
)
from lm_gym.data import load_dataset
from lm_gym.envs import TextVectorEnv
from lm_gym.envs.arguments import EnvArguments
from lm_gym.rewards import REWARDS
from lm_gym.tasks import TASKS

BAD = [math.nan, math.inf, -math.inf]
UNBOUNDED = {"stop_fitness", "token_column", "tag_column", "text_column"}  # every number is valid


@bounded
def example(
    count: PositiveInt = 1,
    rate: PositiveFloat | Callable[[float], float] = 0.1,
    share: "Fraction | Literal['auto']" = "auto",
    weights: Mapping[str, NonNegativeFloat] | None = None,
    triple: tuple[float, float, float] | None = None,
    names: Sequence[str] = (),
    kind: Literal["first", "second"] = "first",
    on: bool = False,
    name: str = "",
    free: Any = None,
    unknown: "OnlyATypeCheckerKnows" = None,  # noqa: F821
) -> str:
    return "called"


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": 3},
        {"count": np.int64(3)},
        {"rate": 1},
        {"rate": lambda _: 0.1},
        {"share": 0},
        {"share": "auto"},
        {"weights": {"a": 0.0}},
        {"weights": None},
        {"triple": [1, 2, 3]},
        {"names": ("a", "b")},
        {"kind": "second"},
        {"on": True},
        {"free": -2.5},
        {"unknown": -2.5},
    ],
)
def test_values_within_their_bounds_pass(arguments):
    assert example(**arguments) == "called"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": 1.5}, "count must be a whole number, got 1.5"),
        ({"count": True}, "count must be a whole number, got True"),
        ({"count": "many"}, "count must be a whole number, got 'many'"),
        ({"rate": 0}, "rate must be above 0, got 0"),
        ({"rate": "fast"}, "rate must be a number, got 'fast'"),
        ({"share": 1.0}, r"share must be in \[0, 1\), got 1.0"),
        ({"share": "outo"}, "unknown share='outo'.*did you mean 'auto'"),
        ({"share": None}, "share must be a number or 'auto', got None"),
        ({"weights": {"a": -1}}, "weights.a must be at least 0, got -1"),
        ({"triple": (1, 2, math.nan)}, r"triple\[2\] must be finite, got nan"),
        ({"kind": "secnd"}, "unknown kind='secnd'.*did you mean 'second'"),
        ({"on": "no"}, "on must be True or False, got 'no'"),
        ({"names": None}, "names must be Sequence, got None"),
        ({"name": None}, "name must be a string, got None"),
        *(({"free": value}, f"free must be finite, got {value}") for value in BAD),
        *(({"unknown": value}, f"unknown must be finite, got {value}") for value in BAD),
        *(({"rate": value}, f"rate must be finite, got {value}") for value in BAD),
    ],
)
def test_values_out_of_their_bounds_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        example(**arguments)


def test_positional_arguments_are_checked():
    with pytest.raises(ValueError, match="rate must be above 0"):
        example(1, -1)


def test_subclasses_check_their_own_arguments_and_those_they_hand_on():
    class Base(Bounded):
        library_types: ClassVar = {"handed_to_a_library": UnitInterval}

        def __init__(self, base: PositiveInt = 1, **library: Any) -> None:
            pass

    class Child(Base):
        def __init__(self, child: PositiveInt = 1, **base: Any) -> None:
            super().__init__(**base)

    for name in ("base", "child", "handed_to_a_library"):
        with pytest.raises(ValueError, match=f"^{name} must"):
            Child(**{name: -1})
    with pytest.raises(ValueError, match=r"^agent\.base must"):
        check_arguments(Child, {"base": 0}, "agent.")
    assert {"base", "child", "handed_to_a_library"} <= set(declared_types(Child))


def test_arguments_that_are_handed_on_are_known_and_checked() -> None:
    class Base(Bounded):
        def __init__(self, base: PositiveInt = 1) -> None:
            pass

    class Child(Base):
        def __init__(self, first: object, child: int = 1, **base: Any) -> None:
            super().__init__(**base)

    class Closed(Child):
        def __init__(self, own: int = 1) -> None:
            super().__init__(None)

    assert argument_names(Child) == ["first", "child", "base"]
    assert argument_names(Closed) == ["own"]
    check_keywords(Child, {"base": 2}, "kwargs", "child", {"first"})
    with pytest.raises(ValueError, match=r"^kwargs: child has no argument 'first'"):
        check_keywords(Child, {"first": None}, "kwargs", "child", {"first"})
    with pytest.raises(ValueError, match=r"^kwargs: closed has no argument 'base'"):
        check_keywords(Closed, {"base": 2}, "kwargs", "closed")
    with pytest.raises(ValueError, match=r"^kwargs\.base must"):
        check_keywords(Child, {"base": 0}, "kwargs", "child")


# ------------------------------------------------------------------------------------ all registries


def constructor(entry: Any) -> Any:
    return entry.func if isinstance(entry, partial) else entry


SURFACE: dict[str, Any] = {
    **{f"{r.what} {n}": constructor(r[n]) for r in (ALGORITHMS, OPTIMIZERS, SEARCH_SPACES, REWARDS) for n in r},
    **{f"options of {name}": task.Options for name, task in TASKS.items()},
    **{
        kind.__name__: kind
        for kind in (
            BudgetSettings,
            CheckpointSettings,
            EnvArguments,
            EnvSettings,
            EvaluationSettings,
            LMPolicy,
            LearningRate,
            RaySettings,
            TextVectorEnv,
            load_dataset,
            pretrain,
        )
    },
}


def own_types(kind: Any) -> dict[str, Any]:
    """Return the declared types of a class's arguments, without arguments that only libraries declare."""
    found = dict(declared_types(kind))
    if isinstance(kind, type):
        ours = [base for base in kind.__mro__ if base.__module__.startswith("lm_gym")]
        kept = {name for base in ours for name in getattr(base.__dict__.get("__init__"), "__annotations__", {})}
        kept |= {name for base in ours for name in base.__dict__.get("library_types", {})}
        found = {name: declared for name, declared in found.items() if name in kept}
    return found


def intervals(declared: Any) -> list[Interval | None]:
    """Return the bounds of each number in a type; None for a number without bounds."""
    if get_origin(declared) is Annotated:
        return [mark for mark in get_args(declared) if isinstance(mark, Interval)]
    if get_origin(declared) in (Union, UnionType):
        return [found for arm in get_args(declared) for found in intervals(arm)]
    return [None] if declared in (int, float) else []


NUMBERS = [
    (kind, name, found[0] or Interval())
    for kind in SURFACE.values()
    for name, declared in own_types(kind).items()
    if (found := intervals(declared))
]


@pytest.mark.parametrize("what", SURFACE)
def test_every_number_has_bounds(what):
    open_ended = {name for name, declared in own_types(SURFACE[what]).items() if None in intervals(declared)}
    assert open_ended <= UNBOUNDED


def outside(interval: Interval) -> st.SearchStrategy[float]:
    """Return numbers outside an interval."""
    found = st.sampled_from(BAD)
    if interval.low > -math.inf:
        found |= st.floats(max_value=interval.low, exclude_max=not interval.open_low, allow_infinity=False)
    if interval.high < math.inf:
        found |= st.floats(min_value=interval.high, exclude_min=not interval.open_high, allow_infinity=False)
    return found


def test_there_is_a_surface():
    assert len(NUMBERS) > 150


@given(st.data())
@settings(max_examples=400, deadline=None, phases=[Phase.generate])
def test_constructors_refuse_what_is_outside(data):
    kind, name, interval = data.draw(st.sampled_from(NUMBERS))
    value = data.draw(outside(interval))
    with pytest.raises(ValueError, match=rf"^{name} must be"):
        kind(**{name: value})


@given(st.data())
@settings(max_examples=8, deadline=None, phases=[Phase.generate])
def test_the_command_line_refuses_what_is_outside(data):
    algo, task = data.draw(st.sampled_from(list(ALGORITHMS))), data.draw(st.sampled_from(list(TASKS.values())))
    sections = {
        "agent": ALGORITHMS[algo],
        "policy": LMPolicy,
        "env": env_settings(task),
        "data": load_dataset,
        "budget": BudgetSettings,
        "evaluation": EvaluationSettings,
        "checkpoint": CheckpointSettings,
        "ray": RaySettings,
    }
    types = {f"{section}.{name}": t for section, kind in sections.items() for name, t in declared_types(kind).items()}
    types |= declared_types(Settings)
    known = leaves(build_parser(algo, task.env_id).get_defaults().as_dict())
    keys = [key for key, _ in known if intervals(types.get(key)) and not key.endswith("_column")]  # may be names
    key = data.draw(st.sampled_from(keys))
    interval = intervals(types[key])[0] or Interval()
    with pytest.raises(SettingsError, match=key.replace(".", r"\.")):
        parse_settings([f"--env.id={task.env_id}", f"--algo={algo}", f"--{key}={data.draw(outside(interval))}"])


PARSERS = {
    "monitor": (monitor._parser(), ["run", "--input=-"]),
    "play": (play._parser(), ["run"]),
    "reply": (reply._parser(), ["run", "--bank=bank.txt"]),
    "compare": (build_compare_parser(), ["ner_builtin"]),
}


@pytest.mark.parametrize(
    ("command", "option", "bad"),
    [
        (command, option.option_strings[0], bad)
        for command, (parser, _) in PARSERS.items()
        for option in parser._actions
        for bad in {int: (-1,), float: (-1.0, *BAD)}.get(getattr(option, "_typehint", None) or option.type, ())
    ],
)
def test_every_number_of_a_command_has_bounds(command, option, bad, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_command([command, *PARSERS[command][1], f"{option}={bad}"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("loading")]
    assert option.lstrip("-").replace("-", "_") in line.replace("-", "_")


@pytest.mark.parametrize("name", ["seeds", "jobs", "trials"])
def test_a_comparison_refuses_counts_below_its_bounds(name):
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        check_arguments(Plan, {name: -1})
