"""Certainty of distributions over tokens, which decides the order in which a text is filled in."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def confidence(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest probability, [..., n] log-probabilities → [...], in (0, 1]."""
    largest: NDArray[np.float64] = np.exp(log_probs.max(-1).astype(np.float64))
    return largest


def margin(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the largest probability minus the second largest, [..., n] log-probabilities → [...], in [0, 1]."""
    two = np.exp(np.partition(log_probs.astype(np.float64), -2, axis=-1)[..., -2:])
    return np.asarray(two[..., 1] - two[..., 0])


def negative_entropy(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the negative entropy in nats, [..., n] log-probabilities → [...], at most 0."""
    logs = np.maximum(log_probs.astype(np.float64), -1e4)  # 0 · log 0 = 0
    return np.asarray((np.exp(logs) * logs).sum(-1))


SCORES: dict[str, Callable[[NDArray[Any]], NDArray[np.float64]]] = {
    "confidence": confidence,
    "margin": margin,
    "entropy": negative_entropy,
}
"""Certainty of a distribution, by the name of the order that uses it; the most certain position comes first."""
