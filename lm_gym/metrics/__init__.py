"""Corpus-level metrics, in which results are reported. They are not rewards.

All functions work on the flat arrays of a `Corpus` without loops over tokens; `flat_tags` creates these arrays from
lists of strings.
"""

from lm_gym.iob2 import entity_types
from lm_gym.metrics.classes import class_report, label_report, token_report
from lm_gym.metrics.confusion import ConfusionReport, calibration_error, confusion_matrix, confusion_report, matthews
from lm_gym.metrics.entities import entity_report, entity_spans, flat_tags
from lm_gym.metrics.positions import accuracy, cross_entropy, perplexity
from lm_gym.metrics.report import EntityReport, Report, Scores, TokenReport

__all__ = [
    "ConfusionReport",
    "EntityReport",
    "Report",
    "Scores",
    "TokenReport",
    "accuracy",
    "calibration_error",
    "class_report",
    "confusion_matrix",
    "confusion_report",
    "cross_entropy",
    "entity_report",
    "entity_spans",
    "entity_types",
    "flat_tags",
    "label_report",
    "matthews",
    "perplexity",
    "token_report",
]
