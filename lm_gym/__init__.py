"""Text tasks as Gymnasium environments.

Importing the package registers an environment for every task in `TASKS`, such as `lm_gym/MaskedLM-v0` and
`lm_gym/NER-v0`. `gymnasium.make` plays one text at a time and `gymnasium.make_vec` many texts at once; both accept the
same arguments. The id `"lm_gym:lm_gym/NER-v0"` imports the package by itself.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lm_gym import envs
from lm_gym.data import Corpus, Dataset, load_dataset
from lm_gym.envs import TextEnv, TextVectorEnv, find_task, register_task
from lm_gym.rewards import REWARDS, Reward, make_reward, register_reward
from lm_gym.tasks import METRICS, TASKS, Metric, Task, WordLabels
from lm_gym.tokenizer import TextTokenizer, load_tokenizer

__all__ = [
    "METRICS",
    "REWARDS",
    "TASKS",
    "Corpus",
    "Dataset",
    "Metric",
    "Reward",
    "Task",
    "TextEnv",
    "TextTokenizer",
    "TextVectorEnv",
    "WordLabels",
    "find_task",
    "load_dataset",
    "load_tokenizer",
    "make_reward",
    "register_reward",
    "register_task",
]

try:
    __version__ = version("lm-gym")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name.endswith("Env"):
        return getattr(envs, name)  # an environment class such as NEREnv
    raise AttributeError(f"module 'lm_gym' has no attribute {name!r}")
