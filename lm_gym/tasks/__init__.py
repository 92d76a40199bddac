"""Tasks: texts with positions to decide."""

from lm_gym.tasks.baseline import Baseline, Batch, Prediction
from lm_gym.tasks.build import build_task
from lm_gym.tasks.dynamics import OpenedTexts
from lm_gym.tasks.encoded import Cut, Encoded, Shape
from lm_gym.tasks.evaluation import DecidedText, Evaluation
from lm_gym.tasks.fixed import FixedPositions
from lm_gym.tasks.masked_lm import MaskedLM
from lm_gym.tasks.metric import METRICS, Metric
from lm_gym.tasks.multi_label import MultiLabelClassification
from lm_gym.tasks.ner import NER
from lm_gym.tasks.parts import Mark, Nouns, Part
from lm_gym.tasks.recommendation import Recommendation
from lm_gym.tasks.registry import TASKS, add_task, load_data
from lm_gym.tasks.response_selection import ResponseSelection
from lm_gym.tasks.steps import Progress
from lm_gym.tasks.task import Task
from lm_gym.tasks.text_classification import TextClassification
from lm_gym.tasks.unmasking import Unmasking
from lm_gym.tasks.words import WordLabels

__all__ = [
    "METRICS",
    "NER",
    "TASKS",
    "Baseline",
    "Batch",
    "Cut",
    "DecidedText",
    "Encoded",
    "Evaluation",
    "FixedPositions",
    "Mark",
    "MaskedLM",
    "Metric",
    "MultiLabelClassification",
    "Nouns",
    "OpenedTexts",
    "Part",
    "Prediction",
    "Progress",
    "Recommendation",
    "ResponseSelection",
    "Shape",
    "Task",
    "TextClassification",
    "Unmasking",
    "WordLabels",
    "add_task",
    "build_task",
    "load_data",
]
