"""The tasks by name."""

from lm_gym.tasks.masked_lm import MaskedLM
from lm_gym.tasks.ner import NER
from lm_gym.tasks.task import Task

TASKS: dict[str, type[Task]] = {"masked_lm": MaskedLM, "ner": NER}
