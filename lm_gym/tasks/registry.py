"""The registry of tasks, from which environments, the command line and the manuals follow."""

from typing import Any

from lm_gym.data import DataError, Dataset, load_dataset
from lm_gym.data.errors import OtherFields
from lm_gym.registry import Registry
from lm_gym.tasks.masked_lm import MaskedLM
from lm_gym.tasks.metric import METRICS
from lm_gym.tasks.multi_label import MultiLabelClassification
from lm_gym.tasks.ner import NER
from lm_gym.tasks.recommendation import Recommendation
from lm_gym.tasks.response_selection import ResponseSelection
from lm_gym.tasks.task import Task
from lm_gym.tasks.text_classification import TextClassification
from lm_gym.tasks.unmasking import Unmasking

TASKS: Registry[type[Task]] = Registry("task", {})


def add_task(kind: type[Task]) -> None:
    """Add a task and its metrics.

    Raises:
        ValueError: the name of the task or of a metric is already taken.
    """
    for metric in kind.metrics:
        if metric.name in METRICS and not metric.same_as(METRICS[metric.name]):
            raise ValueError(f"metric {metric.name!r} of {kind.__name__} is taken: {METRICS[metric.name]!r}")
    TASKS.register(kind.name, kind)
    METRICS.update({metric.name: metric for metric in kind.metrics})


def load_data(kind: type[Task], source: Any, **arguments: Any) -> Dataset:
    """Load a dataset with the fields of a task.

    Args:
        kind: the task.
        source: see `lm_gym.load_dataset`.
        arguments: further arguments of `lm_gym.load_dataset`.

    Raises:
        DataError: the data cannot be used; if another task can use it, the message names its environment.
    """
    if source == "builtin" and kind.builtin is None:
        raise DataError(f"{kind.env_id} has no builtin data: give a file, a folder, hub:<id> or Python data")
    try:
        return load_dataset(source, fields=kind.fields, builtin=kind.builtin, **arguments)
    except OtherFields as error:
        takers = [other.env_id for other in TASKS.values() if _required(other) and _required(other) <= error.kinds]
        way_out = f"use {' or '.join(takers)}" if takers else "no environment supports it yet, see docs/own_task.md"
        raise DataError(f"{error}: {way_out}") from None


def _required(kind: type[Task]) -> frozenset[str]:
    """Return the kinds of fields that a task requires besides words."""
    return frozenset(field.kind for field in kind.fields[1:] if field.required)


for _kind in (
    NER,
    MaskedLM,
    TextClassification,
    MultiLabelClassification,
    Unmasking,
    ResponseSelection,
    Recommendation,
):
    add_task(_kind)
