"""Masked-LM and NER tasks as Gymnasium environments.

Importing the package registers `lm_gym/MaskedLM-v0` and `lm_gym/NER-v0`, for `gymnasium.make` (one text at a time)
and `gymnasium.make_vec` (many at once, natively), with the same arguments; `"lm_gym:lm_gym/NER-v0"` does so by
itself.
"""

from importlib.metadata import PackageNotFoundError, version

from gymnasium.envs.registration import register, registry

from lm_gym.data import Corpus, Dataset, load_dataset
from lm_gym.envs import MaskedLMEnv, MaskedLMVectorEnv, NEREnv, NERVectorEnv, TextEnv, TextVectorEnv
from lm_gym.rewards import REWARDS, Reward, make_reward
from lm_gym.tasks import TASKS, Task
from lm_gym.tokenizer import TextTokenizer, load_tokenizer

__all__ = [
    "REWARDS",
    "TASKS",
    "Corpus",
    "Dataset",
    "MaskedLMEnv",
    "MaskedLMVectorEnv",
    "NEREnv",
    "NERVectorEnv",
    "Reward",
    "Task",
    "TextEnv",
    "TextTokenizer",
    "TextVectorEnv",
    "load_dataset",
    "load_tokenizer",
    "make_reward",
]

_ENVIRONMENTS = {"lm_gym/MaskedLM-v0": "masked_lm:MaskedLM", "lm_gym/NER-v0": "ner:NER"}

try:
    __version__ = version("lm-gym")
except PackageNotFoundError:  # a checkout that isn't installed
    __version__ = "0.1.0"

for _id, _entry in _ENVIRONMENTS.items():
    if _id not in registry:
        register(_id, entry_point=f"lm_gym.envs.{_entry}Env", vector_entry_point=f"lm_gym.envs.{_entry}VectorEnv")
