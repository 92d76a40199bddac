"""Registration of tasks as Gymnasium environments."""

import re
from dataclasses import is_dataclass
from functools import partial
from typing import Any, TypeVar

from gymnasium.envs.registration import register, registry

from lm_gym.envs.classes import class_name, environment_class
from lm_gym.envs.env import TextEnv
from lm_gym.envs.vector import TextVectorEnv
from lm_gym.naming import among
from lm_gym.registry import import_user_module
from lm_gym.tasks import TASKS, Metric, Task, add_task

T = TypeVar("T", bound=type[Task])


def register_task(kind: T) -> T:
    """Register a task for `gymnasium.make(kind.env_id)`, `gymnasium.make_vec`, and `--env.id` on the command line.

    This is also a class decorator. The id `"my_module:MyTask-v0"` imports `my_module` first.

    Raises:
        ValueError: the name, the id or the name of a metric is already taken.
        TypeError: the class lacks a required member.
    """
    _check(kind)
    for other in TASKS.values():  # classes are found by name
        if other.name != kind.name and class_name(other, TextEnv) == class_name(kind, TextEnv):
            raise ValueError(
                f"env_id {kind.env_id!r} of {kind.__name__} is too similar to {other.env_id!r} of task {other.name!r}: "
                f"both would have the class {class_name(kind, TextEnv)}; choose another id"
            )
    _register(kind, *(partial(_make, kind, base) for base in (TextEnv, TextVectorEnv)))
    return kind


def register_shipped(kind: type[Task]) -> None:
    """Register a task of the package, whose classes any process can find by name."""
    _register(kind, *(f"lm_gym.envs:{class_name(kind, base)}" for base in (TextEnv, TextVectorEnv)))


def _register(kind: type[Task], single: Any, vector: Any) -> None:
    before = TASKS.get(kind.name)
    ours = {task.env_id for task in TASKS.values()}
    if kind.env_id in registry and kind.env_id not in ours:
        raise ValueError(f"env_id {kind.env_id!r} of {kind.__name__} is taken by {registry[kind.env_id].entry_point}")
    add_task(kind)
    if before is not None:  # rerunning a module defines its task again
        registry.pop(before.env_id, None)
    register(kind.env_id, entry_point=single, vector_entry_point=vector)


def _make(kind: type[Task], base: type[Any], **arguments: Any) -> Any:
    """Create an environment. Unpickling this function in another process imports the task's module."""
    return environment_class(kind, base)(**arguments)


def _check(kind: type[Task]) -> None:
    """Raise TypeError or ValueError if a class is not a complete task."""
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    missing += [name for name in ("name", "env_id") if not isinstance(getattr(kind, name, None), str)]
    if missing:
        raise TypeError(f"task {kind.__name__} does not define {', '.join(missing)}")
    if not re.fullmatch(r"([\w-]+/)?[\w.-]+-v\d+", kind.env_id):
        raise ValueError(f"env_id {kind.env_id!r} of {kind.__name__}: give a name with a version, such as 'MyTask-v0'")
    if not kind.metrics or not all(isinstance(metric, Metric) for metric in kind.metrics):
        raise TypeError(f"metrics of {kind.__name__}: give one Metric or more; the first chooses the best model")
    if not is_dataclass(kind.Options) or not kind.Options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise TypeError(f"Options of {kind.__name__}: give a frozen dataclass")


def find_task(env_id: str) -> type[Task]:
    """Return the task of an environment id, such as `lm_gym/NER-v0` or `my_module:MyTask-v0`.

    Raises:
        ValueError: the environment (the message suggests the nearest id) or the module is unknown.
    """
    module, _, own = env_id.rpartition(":")
    if module:
        import_user_module(module, f"environment {env_id!r}")
    ids = {kind.env_id: kind for kind in TASKS.values()}
    if own not in ids:
        raise ValueError(f"no environment {env_id!r}{among(own, ids)}")
    return ids[own]


def class_of(name: str) -> type[Any]:
    """Return an environment class of a registered task by its name, such as `NEREnv` or `NERVectorEnv`.

    Raises:
        AttributeError: no task has a class of this name.
    """
    for kind in TASKS.values():
        for base in (TextEnv, TextVectorEnv):
            if class_name(kind, base) == name:
                return environment_class(kind, base)
    raise AttributeError(f"no environment class {name!r}")


def class_names() -> list[str]:
    """Return the names of the environment classes of all tasks."""
    return [class_name(kind, base) for kind in TASKS.values() for base in (TextEnv, TextVectorEnv)]
