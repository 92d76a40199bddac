"""What a reward sees of episodes: the live board of their decisions, and what a step decided."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Observation = dict[str, NDArray[Any]]


class Board(NamedTuple):
    """The live arrays of the episodes that a `Track` follows; the track does not write to them.

    Attributes:
        targets: int64 [N, T], gold choices; n where padded.
        predictions: int64 [N, T], choices so far; n where undecided or padded.
        counts: int64 [N], number of positions.
        observe: returns the observation of some rows, each leaf [R, …].
        gains: float64 [N, n], relevance of each choice (see `lm_gym.tasks.Task.gains`); None if the task has none.
        obeys: maps choices int64 [..., N, T], n where open, to whether each text obeys the task's rule, bool [..., N]
            (see `lm_gym.tasks.Task.obeys`).
    """

    targets: NDArray[np.int64]
    predictions: NDArray[np.int64]
    counts: NDArray[np.int64]
    observe: Callable[[NDArray[np.int64]], Observation]
    gains: NDArray[np.float64] | None = None
    obeys: Callable[[NDArray[np.int64]], NDArray[np.bool_]] | None = None


class Decision(NamedTuple):
    """One decision of every row.

    Attributes:
        choices: int64 [N], already written to the predictions.
        targets: int64 [N], the gold choices.
        log_probs: [N], log-probability of each target if actions are distributions, else None.
        cursor: int64 [N], the decided position.
        last: bool [N], whether it is the last position of its text.
    """

    choices: NDArray[np.int64]
    targets: NDArray[np.int64]
    log_probs: NDArray[Any] | None
    cursor: NDArray[np.int64]
    last: NDArray[np.bool_]


class Step(NamedTuple):
    """A step that decided some positions of every row.

    Attributes:
        decided: bool [N, T], the positions decided, whose choices are already written into the predictions.
        last: bool [N], whether the text ends with this step.
        log_probs: float64 [N, T], log-probability of each target when its position was decided, if actions are
            distributions, else None.
        taken_back: int64 [N, T], the choices of positions that the step opened again, n elsewhere; None if there are
            none. Their predictions are n already.
    """

    decided: NDArray[np.bool_]
    last: NDArray[np.bool_]
    log_probs: NDArray[np.float64] | None
    taken_back: NDArray[np.int64] | None = None
