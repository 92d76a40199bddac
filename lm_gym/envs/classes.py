"""The environment classes of a task, made from it."""

from typing import Any

from lm_gym.envs.manual import manual
from lm_gym.tasks import Task

_CLASSES: dict[tuple[type[Task], type[Any]], type[Any]] = {}


def environment_class(task: type[Task], base: type[Any]) -> type[Any]:
    """The environment class of a task, made once: `NEREnv` of `lm_gym/NER-v0`.

    Args:
        task: the task.
        base: `TextEnv` or `TextVectorEnv`.
    """
    if (task, base) not in _CLASSES:
        members: dict[str, Any] = {"task_class": task, "__module__": "lm_gym.envs", "__doc__": manual(task)}
        _CLASSES[task, base] = type(class_name(task, base), (base,), members)
    return _CLASSES[task, base]


def class_name(task: type[Task], base: type[Any]) -> str:
    """The name of a task's environment class."""
    return task.env_id.rpartition("/")[2].rpartition("-v")[0] + base.__name__.removeprefix("Text")


def remade(task: type[Task], base: type[Any]) -> Any:
    """An environment without its state, for pickle."""
    kind = environment_class(task, base)
    return object.__new__(kind)
