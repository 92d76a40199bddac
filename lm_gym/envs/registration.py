"""From a task to its Gymnasium environments."""

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
    """Make a task known: `gymnasium.make(kind.env_id)`, `gymnasium.make_vec`, and the commands by `--env.id`.

    Usable as a class decorator. A task of a module `my_module` is found as `"my_module:MyTask-v0"`, which imports the
    module.

    Raises:
        ValueError: the name, the id or a metric's name is taken by something else.
        TypeError: the class lacks something that a task must have.
    """
    _check(kind)
    for other in TASKS.values():  # classes are found by name
        if other.name != kind.name and class_name(other, TextEnv) == class_name(kind, TextEnv):
            raise ValueError(
                f"env_id {kind.env_id!r} of {kind.__name__} is too like {other.env_id!r} of task {other.name!r}: both "
                f"would be {class_name(kind, TextEnv)}; choose another"
            )
    _register(kind, *(partial(_make, kind, base) for base in (TextEnv, TextVectorEnv)))
    return kind


def register_shipped(kind: type[Task]) -> None:
    """Register a task that comes with the package: its classes are found by name in any process."""
    _register(kind, *(f"lm_gym.envs:{class_name(kind, base)}" for base in (TextEnv, TextVectorEnv)))


def _register(kind: type[Task], single: Any, vector: Any) -> None:
    before = TASKS.get(kind.name)
    ours = {task.env_id for task in TASKS.values()}
    if kind.env_id in registry and kind.env_id not in ours:
        raise ValueError(f"env_id {kind.env_id!r} of {kind.__name__} is taken by {registry[kind.env_id].entry_point}")
    add_task(kind)
    if before is not None:  # a module that is run again defines its task again
        registry.pop(before.env_id, None)
    register(kind.env_id, entry_point=single, vector_entry_point=vector)


def _make(kind: type[Task], base: type[Any], **arguments: Any) -> Any:
    """An environment; what a process that knows nothing of the task unpickles imports its module."""
    return environment_class(kind, base)(**arguments)


def _check(kind: type[Task]) -> None:
    """Raise TypeError or ValueError where a class is no complete task."""
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
    """The task of an environment id, `my_module:MyTask-v0` of a user's module among them.

    Raises:
        ValueError: there is no such environment (the message has the nearest), or no such module.
    """
    module, _, own = env_id.rpartition(":")
    if module:
        import_user_module(module, f"environment {env_id!r}")
    ids = {kind.env_id: kind for kind in TASKS.values()}
    if own not in ids:
        raise ValueError(f"no environment {env_id!r}{among(own, ids)}")
    return ids[own]


def class_of(name: str) -> type[Any]:
    """The environment class of a registered task by its name, such as `NEREnv` or `NERVectorEnv`.

    Raises:
        AttributeError: no task has a class of this name.
    """
    for kind in TASKS.values():
        for base in (TextEnv, TextVectorEnv):
            if class_name(kind, base) == name:
                return environment_class(kind, base)
    raise AttributeError(f"no environment class {name!r}")


def class_names() -> list[str]:
    """The names of the environment classes of all tasks."""
    return [class_name(kind, base) for kind in TASKS.values() for base in (TextEnv, TextVectorEnv)]
