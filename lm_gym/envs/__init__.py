"""Gymnasium environments, single and vector, whose episodes are texts with positions to decide.

Each task has two classes here, such as `NEREnv` and `NERVectorEnv` for `lm_gym/NER-v0`.
"""

from typing import Any

from lm_gym.envs.classes import environment_class
from lm_gym.envs.env import TextEnv
from lm_gym.envs.registration import class_names, class_of, find_task, register_shipped, register_task
from lm_gym.envs.vector import TextVectorEnv
from lm_gym.tasks import TASKS

__all__ = ["TextEnv", "TextVectorEnv", "environment_class", "find_task", "register_task"]

for _kind in TASKS.values():
    register_shipped(_kind)


def __getattr__(name: str) -> Any:
    return class_of(name)


def __dir__() -> list[str]:
    return [*globals(), *class_names()]
