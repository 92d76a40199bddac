"""Confusion matrices, and the calibration of probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lm_gym.metrics.classes import class_report
from lm_gym.metrics.report import Report

BINS = 15


@dataclass(frozen=True)
class ConfusionReport(Report):
    """Scores by class, and the confusion matrix.

    Attributes:
        confusion: counts by gold class (rows) and predicted class (columns), in the order of `names`.
        names: names of the classes.
    """

    confusion: tuple[tuple[int, ...], ...] = ()
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Format the scores and the matrix."""
        cells = [["gold \\ predicted", *self.names]]
        cells += [[name, *map(str, row)] for name, row in zip(self.names, self.confusion, strict=True)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([super().__str__(), "", "Confusion matrix", *lines])


def confusion_report(gold: ArrayLike, predicted: ArrayLike, names: Sequence[str], title: str) -> ConfusionReport:
    """Compute precision, recall and F1 of every class, and the confusion matrix.

    Args:
        gold: integers [P], index into `names`.
        predicted: integers [P], the same.
        names: names of the classes.
        title: title of the report.

    Raises:
        ValueError: a class outside `names`, or arrays of different lengths.
    """
    scores = class_report(gold, predicted, names, title)
    matrix = confusion_matrix(np.asarray(gold), np.asarray(predicted), len(names))
    rows = tuple(tuple(row) for row in matrix.tolist())
    return ConfusionReport(
        **{f.name: getattr(scores, f.name) for f in fields(scores)}, confusion=rows, names=tuple(names)
    )


def confusion_matrix(gold: NDArray[np.integer], predicted: NDArray[np.integer], num_classes: int) -> NDArray[np.int64]:
    """Return counts by gold class (rows) and predicted class (columns), int64 [n, n]."""
    pairs = gold.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def matthews(confusion: NDArray[np.int64]) -> float:
    """Compute the Matthews correlation of gold and predicted classes, -1 to 1; 0 if either is constant.

    This is the multi-class form R_K (Gorodkin 2004), as in scikit-learn: with c right of s cases, t_k gold and p_k
    predicted in class k, (c·s - Σ t_k p_k) / √((s² - Σ p_k²)(s² - Σ t_k²)).

    Args:
        confusion: int [n, n].
    """
    counts = confusion.astype(np.float64)
    gold, predicted, total = counts.sum(1), counts.sum(0), counts.sum()
    spread = np.sqrt((total**2 - (predicted**2).sum()) * (total**2 - (gold**2).sum()))
    return float((np.trace(counts) * total - gold @ predicted) / spread) if spread > 0 else 0.0


def calibration_error(log_probs: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Compute the expected calibration error, 0 to 1 (Guo et al. 2017).

    Decisions are grouped into `bins` of equal width by the probability of the choice made. The error is the mean
    absolute difference between the mean probability and the accuracy of a bin, weighted by the size of the bin.

    Args:
        log_probs: [P], log P(choice made).
        right: bool [P], whether it is right.
        bins: number of bins.

    Raises:
        ValueError: no decisions.
    """
    confidence, hits = np.exp(np.asarray(log_probs, np.float64)), np.asarray(right, np.float64)
    if not confidence.size:
        raise ValueError("the calibration error of no decisions is undefined: give at least one")
    of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(of, confidence, bins) - np.bincount(of, hits, bins)
    return float(np.abs(gaps).sum() / confidence.size)
