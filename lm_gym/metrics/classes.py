"""Reports by tag, by class and by label, as scikit-learn's classification_report."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lm_gym.metrics.checks import check_same_shape, checked_ids
from lm_gym.metrics.report import Report, Scores, TokenReport, averaged


def token_report(gold: ArrayLike, predicted: ArrayLike, tag_names: Sequence[str]) -> TokenReport:
    """Return precision, recall and F1 of every tag including O, as scikit-learn's classification_report.

    Args:
        gold: integers [W], index into `tag_names`.
        predicted: integers [W], the same.
        tag_names: any names.

    Raises:
        ValueError: a tag outside `tag_names`, or arrays of different lengths.
    """
    return TokenReport("Token-level report (O included; not entity F1)", *_by_class(gold, predicted, tag_names))


def class_report(gold: ArrayLike, predicted: ArrayLike, names: Sequence[str], title: str = "Report by class") -> Report:
    """Return precision, recall and F1 of every class, as scikit-learn's classification_report.

    Args:
        gold: integers [P], index into `names`.
        predicted: integers [P], the same.
        names: names of the classes.
        title: title of the report.

    Raises:
        ValueError: a class outside `names`, or arrays of different lengths.
    """
    return Report(title, *_by_class(gold, predicted, names))


def label_report(
    gold: NDArray[np.bool_], predicted: NDArray[np.bool_], names: Sequence[str], title: str = "Report by label"
) -> Report:
    """Return precision, recall and F1 of labels of which a text has any number.

    Args:
        gold: bool [N, L], the labels that each text has.
        predicted: bool [N, L], those that it is given.
        names: names of the L labels.
        title: title of the report.

    Raises:
        ValueError: arrays of different shapes, or not a column per name.
    """
    check_same_shape(gold, predicted)
    if gold.shape[1:] != (len(names),):
        raise ValueError(f"gold has shape {gold.shape}, but there are {len(names)} names: give a column per name")
    return Report(title, *averaged(names, *(flags.sum(0) for flags in (gold & predicted, predicted, gold))))


def _by_class(
    gold: ArrayLike, predicted: ArrayLike, names: Sequence[str]
) -> tuple[dict[str, Scores], Scores, Scores, Scores]:
    """Return the scores of each class that occurs, then micro, macro and weighted scores."""
    check_same_shape(gold, predicted)
    true, guess = checked_ids(gold, names, "gold"), checked_ids(predicted, names, "predicted")
    counts = [np.bincount(ids, minlength=len(names)) for ids in (true[true == guess], guess, true)]
    return averaged(names, *counts)
