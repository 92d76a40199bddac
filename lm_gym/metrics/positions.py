"""Means over positions: accuracy, cross-entropy and perplexity."""

import numpy as np
from numpy.typing import ArrayLike

from lm_gym.metrics.checks import check_same_shape


def accuracy(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Return the fraction of correct positions, 0 to 1.

    Raises:
        ValueError: there are no positions, or the arrays have different lengths.
    """
    check_same_shape(gold, predicted)
    if not np.size(gold):
        raise ValueError("accuracy of no positions is undefined: give at least one")
    return float(np.mean(np.asarray(gold) == np.asarray(predicted)))


def cross_entropy(log_probs_of_targets: ArrayLike) -> float:
    """Return the mean of -log p(target) over positions, in nats; inf if a target has probability 0.

    Args:
        log_probs_of_targets: natural logarithms, at most 0, of any shape.

    Raises:
        ValueError: there are no positions, or a value is NaN or above 0.
    """
    logs = np.asarray(log_probs_of_targets, np.float64)
    if not logs.size:
        raise ValueError("cross-entropy of no positions is undefined: give at least one")
    if not (logs <= 1e-4).all():  # float32 log-softmax can round slightly above 0; NaN also fails
        worst = "NaN" if np.isnan(logs).any() else f"{logs.max():g}"
        raise ValueError(f"a log-probability is {worst}: natural logarithms of probabilities are at most 0")
    return float(-logs.mean())


def perplexity(log_probs_of_targets: ArrayLike) -> float:
    """Return the exponential of the cross-entropy, at least 1; inf beyond the range of a float.

    Raises:
        ValueError: as in `cross_entropy`.
    """
    with np.errstate(over="ignore"):
        return float(np.exp(cross_entropy(log_probs_of_targets)))
