"""The tasks by name. This is the only list of them: environments, command line and documents follow from it."""

from typing import Any

from lm_gym.data import DataError, Dataset, load_dataset
from lm_gym.data.errors import OtherFields
from lm_gym.registry import Registry
from lm_gym.tasks.masked_lm import MaskedLM
from lm_gym.tasks.metric import METRICS
from lm_gym.tasks.ner import NER
from lm_gym.tasks.task import Task
from lm_gym.tasks.unmasking import Unmasking

TASKS: Registry[type[Task]] = Registry("task", {})


def add_task(kind: type[Task]) -> None:
    """List a task, and its metrics.

    Raises:
        ValueError: its name, or that of one of its metrics, is taken by something else.
    """
    for metric in kind.metrics:
        if metric.name in METRICS and not metric.same_as(METRICS[metric.name]):
            raise ValueError(f"metric {metric.name!r} of {kind.__name__} is taken: {METRICS[metric.name]!r}")
    TASKS.register(kind.name, kind)
    METRICS.update({metric.name: metric for metric in kind.metrics})


def load_data(kind: type[Task], source: Any, **arguments: Any) -> Dataset:
    """The dataset of a name or of data, read for a task.

    Args:
        kind: the task.
        source: see `lm_gym.load_dataset`.
        arguments: of `lm_gym.load_dataset`.

    Raises:
        DataError: data that cannot be used; if another task can use it, the message names its environment.
    """
    if source == "builtin" and kind.builtin is None:
        raise DataError(f"{kind.env_id} has no builtin data: give a file, a folder, hub:<id> or Python data")
    try:
        return load_dataset(source, fields=kind.fields, builtin=kind.builtin, **arguments)
    except OtherFields as error:
        takers = [other.env_id for other in TASKS.values() if _required(other) and _required(other) <= error.kinds]
        way_out = f"{' or '.join(takers)} takes it" if takers else "no environment takes it yet, see docs/own_task.md"
        raise DataError(f"{error}: {way_out}") from None


def _required(kind: type[Task]) -> frozenset[str]:
    """Kinds of the fields that a task needs beside words."""
    return frozenset(field.kind for field in kind.fields[1:] if field.required)


for _kind in (NER, MaskedLM, Unmasking):
    add_task(_kind)
