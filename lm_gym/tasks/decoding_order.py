"""The order in which a text is filled in: fixed, or by the certainty of distributions over tokens."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIXED = ("left_to_right", "random")
"""Orders that do not depend on the policy."""


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


def random_order(keys: NDArray[np.uint64], counts: NDArray[np.int64], block_size: int | None) -> NDArray[np.int64]:
    """Return the slots of each text in the order of random keys, block by block, padded ones last.

    Args:
        keys: uint64 [R, T], a random number for each slot.
        counts: int64 [R], number of positions of each text.
        block_size: number of slots of a block; None for a single block.
    """
    slots = np.arange(keys.shape[1])
    block = np.broadcast_to(slots // (block_size or len(slots)), keys.shape)
    return np.lexsort((keys, block, slots >= counts[:, None])).astype(np.int64)


def next_in_order(
    order: NDArray[np.int64], decided: NDArray[np.int64], number: int, block_size: int | None
) -> NDArray[np.bool_]:
    """Return the next slots of each text in a fixed order, at most to the end of the block, bool [N, T].

    Args:
        order: int64 [N, T], the slots in their order.
        decided: int64 [N], how many of them are decided.
        number: how many come next.
        block_size: number of slots of a block; None for a single block.
    """
    place, begin = np.arange(order.shape[1]), decided[:, None]
    end = begin + number
    if block_size is not None:
        end = np.minimum(end, (begin // block_size + 1) * block_size)
    found = np.zeros(order.shape, np.bool_)
    np.put_along_axis(found, order, (place >= begin) & (place < end), axis=1)
    return found


def up_to_block(decided: NDArray[np.int64], num_slots: int, block_size: int | None) -> NDArray[np.bool_]:
    """Return the slots up to the end of the block that is being decided, int64 [N] → bool [N, T]."""
    if block_size is None:
        return np.ones((len(decided), num_slots), np.bool_)
    end = (decided // block_size + 1) * block_size
    return np.asarray(np.arange(num_slots) < end[:, None])


def most_certain(due: NDArray[np.bool_], scores: NDArray[np.float64], number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the due slots with the highest scores, `number` int64 [N] of each text; among equal ones the first."""
    surest = np.argsort(np.where(due, -scores, np.inf), axis=1, kind="stable")
    found = np.zeros(due.shape, np.bool_)
    np.put_along_axis(found, surest, np.arange(due.shape[1]) < number[:, None], axis=1)
    return found & due
