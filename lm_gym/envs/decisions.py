"""Conversion of actions to choices, with checks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2_000_000  # log-probabilities normalised at a time, to limit memory


class Chooser(NamedTuple):
    """How distributions become choices.

    Attributes:
        choose: see `lm_gym.tasks.Task.choose`.
        score: see `lm_gym.tasks.Task.score`.
        uniforms: float64 of the shape of the choices, random numbers; None if choices are not drawn.
        exact: whether `choose` and `score` need normalised log-probabilities.
    """

    choose: Callable[[NDArray[np.float64], NDArray[np.float64] | None], NDArray[np.int64]]
    score: Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64] | None]
    uniforms: NDArray[np.float64] | None
    exact: bool


class Decisions(NamedTuple):
    """Checked actions.

    Attributes:
        choices: int64 [...], a copy of the given choices, or the choices of distributions; 0 where `asked` is False.
        log_probs: float64 [...], log-probability of each target, or None if actions are choices.
        scores: float64 [...], the task's score of each distribution, or None if the task has none.
    """

    choices: NDArray[np.int64]
    log_probs: NDArray[np.float64] | None
    scores: NDArray[np.float64] | None = None


def read_choices(actions: Any, shape: tuple[int, ...], num_choices: int, asked: NDArray[np.bool_] | None) -> Decisions:
    """Check choices.

    Args:
        actions: integers of `shape`; extra leading dimensions (samples) are allowed.
        shape: the expected trailing shape.
        num_choices: n.
        asked: bool `shape`, the actions to check; the others are ignored. None for all.

    Raises:
        TypeError: the actions are not integers.
        ValueError: the shape is wrong, or an action is outside [0, n).
    """
    given = np.asarray(actions)
    if given.dtype.kind not in "iu":
        raise TypeError(f"actions are {given.dtype}: give integers in 0 … {num_choices - 1}")
    _check_shape(given.shape, shape)
    choices = given.astype(np.int64)
    if asked is not None:
        choices = np.where(asked, choices, 0)
    if np.count_nonzero(choices.view(np.uint64) >= num_choices):  # negative ones are the largest
        place = np.argwhere((choices < 0) | (choices >= num_choices))[0].tolist()
        row = place[len(place) - len(shape)] if shape else 0
        raise ValueError(
            f"action {choices[tuple(place)]} of row {row} (index {place}) is outside 0 … {num_choices - 1}"
        )
    return Decisions(choices, None)


def read_distributions(
    actions: Any,
    shape: tuple[int, ...],
    num_choices: int,
    targets: NDArray[np.int64],
    asked: NDArray[np.bool_] | None,
    chooser: Chooser,
) -> Decisions:
    """Check and normalise unnormalised log-probabilities.

    Args:
        actions: floats of `shape` + [n]; extra leading dimensions (samples) are allowed.
        shape: the expected trailing shape, without n.
        num_choices: n.
        targets: int64 `shape`, gold choices, n where padded.
        asked: bool `shape`, the actions to check; the others are ignored. None for all.
        chooser: how distributions become choices.

    Raises:
        TypeError: the actions are not numbers.
        ValueError: the shape is wrong, or a value is not finite.
    """
    scores = np.asarray(actions)
    if scores.dtype.kind not in "fiu":
        raise TypeError(f"actions are {scores.dtype}: give log-probabilities")
    _check_shape(scores.shape, (*shape, num_choices))
    finite = np.isfinite(scores).all(-1)
    if asked is not None:
        finite |= ~asked
    if not finite.all():
        place = np.argwhere(~finite)[0].tolist()
        row = place[len(place) - len(shape)] if shape else 0
        first = scores[tuple(place)][~np.isfinite(scores[tuple(place)])][0]
        raise ValueError(
            f"log-probabilities of row {row} (index {place}) contain {first}: all must be finite (they are normalised "
            "here, so a very negative number such as -1e4 forbids a choice)"
        )
    gold = np.broadcast_to(np.minimum(targets, num_choices - 1), scores.shape[:-1])
    everywhere = np.ones(gold.shape, np.bool_)
    return _normalise(scores, gold, everywhere if asked is None else everywhere & asked, chooser)


def read_log_probs(log_probs: Any, shape: tuple[int, ...], asked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Check log-probabilities of gold choices.

    Args:
        log_probs: floats of `shape`.
        shape: the expected shape, which ends in the shape of `asked`.
        asked: bool, the values to check; the others become 0.

    Raises:
        ValueError: the shape is wrong, or a value is above 0 (up to rounding), NaN or infinite.
    """
    given = np.asarray(log_probs, np.float64)
    if given.shape != shape:
        raise ValueError(
            f"target_log_probs have shape {given.shape}, but the choices have shape {shape}: give one for each"
        )
    read = np.where(asked, given, 0.0)
    wrong = ~(np.isfinite(read) & (read <= 1e-4))
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise ValueError(f"target_log_probs {read[tuple(place)]} at {place}: a log-probability is finite and at most 0")
    return np.minimum(read, 0.0)


def _normalise(scores: NDArray[Any], gold: NDArray[np.int64], asked: NDArray[np.bool_], chooser: Chooser) -> Decisions:
    """Return choice, log-probability of the gold choice and score, 0 where `asked` is False; in blocks."""
    flat, targets = scores.reshape(-1, scores.shape[-1]), gold.reshape(-1)
    choices, log_probs = np.zeros(len(flat), np.int64), np.zeros(len(flat))
    sure: NDArray[np.float64] | None = None
    rows = np.flatnonzero(asked.reshape(-1))
    uniforms = None if chooser.uniforms is None else np.broadcast_to(chooser.uniforms, gold.shape).reshape(-1)
    for some in np.array_split(rows, 1 + len(rows) * flat.shape[1] // _BLOCK):
        block = flat[some].astype(np.float64)
        block -= block.max(-1, keepdims=True)
        total = np.log(np.exp(block).sum(-1))
        log_probs[some] = block[np.arange(len(some)), targets[some]] - total
        if chooser.exact:  # another pass over all choices
            block -= total[:, None]
        choices[some] = chooser.choose(block, None if uniforms is None else uniforms[some])
        given = chooser.score(block, choices[some])
        if given is not None:
            sure = np.zeros(len(flat)) if sure is None else sure
            sure[some] = given
    return Decisions(
        choices.reshape(gold.shape), log_probs.reshape(gold.shape), None if sure is None else sure.reshape(gold.shape)
    )


def _check_shape(given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if given[len(given) - len(expected) :] != expected or len(given) < len(expected):
        raise ValueError(f"actions have shape {given}: it must end in {expected}")
