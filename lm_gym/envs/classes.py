"""The environment classes of a task, generated from it."""

from typing import Any

from lm_gym.envs.manual import manual
from lm_gym.tasks import Task

_CLASSES: dict[tuple[type[Task], type[Any]], type[Any]] = {}


def environment_class(task: type[Task], base: type[Any]) -> type[Any]:
    """Return the environment class of a task, such as `NEREnv` for `lm_gym/NER-v0`; it is created once.

    Args:
        task: the task.
        base: `TextEnv` or `TextVectorEnv`.
    """
    if (task, base) not in _CLASSES:
        members: dict[str, Any] = {"task_class": task, "__module__": "lm_gym.envs", "__doc__": manual(task)}
        _CLASSES[task, base] = type(class_name(task, base), (base,), members)
    return _CLASSES[task, base]


def class_name(task: type[Task], base: type[Any]) -> str:
    """Return the name of a task's environment class."""
    return task.env_id.rpartition("/")[2].rpartition("-v")[0] + base.__name__.removeprefix("Text")


def remade(task: type[Task], base: type[Any]) -> Any:
    """Return an environment without its state, for pickle."""
    kind = environment_class(task, base)
    return object.__new__(kind)
