"""Reports: precision, recall and F1 by class, and their averages."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1, from 0 to 1 (0 if undefined), and the number of gold cases."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Report:
    """Scores by class, and their averages.

    Attributes:
        title: title of the report.
        classes: scores of each class that occurs in gold or predicted.
        micro: scores over all cases together.
        macro: mean over the classes.
        weighted: mean over the classes, weighted by support.
    """

    title: str
    classes: dict[str, Scores]
    micro: Scores
    macro: Scores
    weighted: Scores

    def rows(self) -> list[tuple[str, Scores]]:
        """Return the classes, then "micro avg", "macro avg" and "weighted avg"."""
        averages = (("micro avg", self.micro), ("macro avg", self.macro), ("weighted avg", self.weighted))
        return [*self.classes.items(), *averages]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries of numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        lines = [self.title, f"{'':{width}}  precision  recall      f1  support"]
        for name, s in self.rows():
            if name == "micro avg":
                lines.append("")
            lines.append(f"{name:{width}}  {s.precision:9.4f}  {s.recall:6.4f}  {s.f1:6.4f}  {s.support:7d}")
        return "\n".join(lines)


class EntityReport(Report):
    """Scores by entity type; `micro.f1` is the entity F1."""


class TokenReport(Report):
    """Scores by tag, including O; `micro.f1` is the token accuracy, not the entity F1."""


def averaged(
    names: Sequence[str], right: NDArray[np.int64], guessed: NDArray[np.int64], support: NDArray[np.int64]
) -> tuple[dict[str, Scores], Scores, Scores, Scores]:
    """Return the scores of each class that occurs, then micro, macro and weighted scores, from counts [n]."""
    occurs = (guessed + support) > 0
    right, guessed, support = right[occurs], guessed[occurs], support[occurs]
    by_class = _scores(right, guessed, support)  # [3, n]
    total = int(support.sum())
    kept = [name for name, there in zip(names, occurs, strict=True) if there]
    classes = {name: _row(by_class[:, i], int(support[i])) for i, name in enumerate(kept)}
    micro = _scores(*(np.array([counts.sum()]) for counts in (right, guessed, support)))[:, 0]
    macro = by_class.mean(axis=1) if kept else np.zeros(3)
    weighted = by_class @ support / max(1, total)
    return classes, _row(micro, total), _row(macro, total), _row(weighted, total)


def _row(values: NDArray[np.float64], support: int) -> Scores:
    """Return `Scores` from precision, recall and F1 [3]."""
    return Scores(float(values[0]), float(values[1]), float(values[2]), support)


def _scores(right: NDArray[np.int64], guessed: NDArray[np.int64], support: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return precision, recall and F1 from counts [n], float64 [3, n]; 0 if undefined."""
    precision = right / np.maximum(1, guessed)
    recall = right / np.maximum(1, support)
    return np.stack((precision, recall, 2 * right / np.maximum(1, guessed + support)))
