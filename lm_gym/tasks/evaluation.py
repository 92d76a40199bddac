"""The result of an evaluation: decisions as flat arrays, with their metrics and reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lm_gym.metrics import Report

if TYPE_CHECKING:
    from lm_gym.tasks.task import Task


@dataclass(frozen=True)
class DecidedText:
    """One text with its decisions.

    Attributes:
        index: index of the text in its split.
        places: int64 [P], index of each position in the text's sub-tokens.
        targets: int64 [P], gold choices.
        choices: int64 [P], the choices; n where undecided.
        log_probs: float32 [P], log P(choice); None if unknown.
    """

    index: int
    places: NDArray[np.int64]
    targets: NDArray[np.int64]
    choices: NDArray[np.int64]
    log_probs: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Evaluation:
    """One pass over texts of a split.

    Attributes:
        task: the task.
        texts: int64 [M], indices of the texts, ascending.
        offsets: int64 [M + 1], offsets of each text's positions in the flat arrays below.
        choices: int64 [P], the choice at each position.
        targets: int64 [P], the gold choice.
        places: int64 [P], index of each position in its text's sub-tokens.
        target_log_probs: float32 [P], log P(gold); None if the predictor gives no probabilities.
        returns: float32 [M], the reward of each text; NaN if it needs probabilities that the predictor does not give.
        choice_log_probs: float32 [P], log P(choice made), or None if it is unknown.
        steps: int64 [M], steps that each text took, or None if texts are decided at once.
        target_ranks: float32 [P], rank of the gold choice from 1; None if the task is not `ranked`.
    """

    task: Task
    texts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    choices: NDArray[np.int64]
    targets: NDArray[np.int64]
    places: NDArray[np.int64]
    target_log_probs: NDArray[np.float32] | None
    returns: NDArray[np.float32]
    choice_log_probs: NDArray[np.float32] | None = None
    steps: NDArray[np.int64] | None = None
    target_ranks: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[DecidedText]:
        for number, text in enumerate(self.texts.tolist()):
            span = slice(self.offsets[number], self.offsets[number + 1])
            sure = None if self.choice_log_probs is None else self.choice_log_probs[span]
            yield DecidedText(text, self.places[span], self.targets[span], self.choices[span], sure)

    @cached_property
    def reports(self) -> dict[str, Report]:
        """The task's reports by name, such as "entity" and "token" for NER; empty if it has none."""
        return self.task.reports(self)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metrics by name: the task's own metrics, then cross_entropy, perplexity and mean_reward."""
        found = {metric.name: metric.value(self) for metric in self.task.all_metrics()}
        return {name: value for name, value in found.items() if value is not None}
