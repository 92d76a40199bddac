"""Tasks: texts with positions to decide."""

from lm_gym.tasks.build import build_task
from lm_gym.tasks.encoded import Cut, Encoded
from lm_gym.tasks.masked_lm import MaskedLM
from lm_gym.tasks.ner import NER
from lm_gym.tasks.registry import TASKS
from lm_gym.tasks.task import Shape, Task, Texts

__all__ = ["NER", "TASKS", "Cut", "Encoded", "MaskedLM", "Shape", "Task", "Texts", "build_task"]
