"""Texts that take several steps: which positions a step decides, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks.dynamics import Dynamics


class Progress(NamedTuple):
    """The progress of texts that take several steps.

    Attributes:
        open: bool [N, T], positions that are not decided.
        filled: bool [N, T], positions that are decided.
        order: int64 [N, T], slots in the order in which they are decided (see `OpenedTexts.order`).
        decided: int64 [N], number of positions decided.
        last: bool [N], whether the next step is the last one.
    """

    open: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    order: NDArray[np.int64]
    decided: NDArray[np.int64]
    last: NDArray[np.bool_]


class Steps(Dynamics):
    """The members of a task that define its steps with `unit="sequence"`, and how distributions become choices.

    By default, one step decides all positions of a text, and the choice of a distribution is its most probable one.
    """

    @property
    def in_steps(self) -> bool:
        """Whether texts take several steps with `unit="sequence"`, each of which decides some of the positions."""
        return False

    def due(self, progress: Progress) -> NDArray[np.bool_]:
        """Return the positions that the next step may decide, bool [N, T] (called only if `in_steps`)."""
        return progress.open

    def taken(
        self, due: NDArray[np.bool_], choices: NDArray[np.int64], scores: NDArray[np.float64] | None, last: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Return the due positions that a step decides, bool [N, T] (called only if `in_steps`).

        Args:
            due: bool [N, T].
            choices: int64 [N, T]; n if a position is left open.
            scores: float64 [N, T], the `score` of each distribution; None if actions are choices.
            last: bool [N], whether this is the last step.
        """
        return due & (choices < self.shape.choices)

    @property
    def max_steps(self) -> int | None:
        """Maximum number of steps, after which a text ends; None for no limit (only if `in_steps`)."""
        return None

    @property
    def step_cost(self) -> float:
        """Cost of each step, which is subtracted from its reward (only if `in_steps`)."""
        return 0.0

    @property
    def may_wait(self) -> bool:
        """Whether an action may leave positions open, by the choice n (only if `in_steps`)."""
        return False

    @property
    def may_end_open(self) -> bool:
        """Whether a text may end with open positions (only if `in_steps`)."""
        return self.may_wait

    @property
    def may_reopen(self) -> bool:
        """Whether an action may open decided positions again, by the choice n (only if `in_steps`)."""
        return False

    @property
    def reopen_cost(self) -> float:
        """Cost of each position that is opened again."""
        return 0.0

    def reopen(
        self, observation: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], slots: NDArray[np.int64]
    ) -> None:
        """Undo what `write` did to some positions (called only if `may_reopen`).

        Args:
            observation: the live observation, [N, …], changed in place.
            rows: int64 [R], the rows of the positions.
            slots: int64 [R], the positions.
        """
        raise NotImplementedError(f"{self.env_id} cannot open a position again")

    @property
    def needs_distributions(self) -> bool:
        """Whether actions must be distributions; `choose` and `score` then get normalised log-probabilities."""
        return False

    @property
    def draws_choices(self) -> bool:
        """Whether the choice of a distribution is drawn from it, instead of its most probable one."""
        return False

    def choose(self, log_probs: NDArray[Any], uniforms: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """Return the choices of distributions, [Q, n] log-probabilities → int64 [Q].

        Args:
            log_probs: [Q, n]; up to a constant for each position, unless the task `needs_distributions`.
            uniforms: float64 [Q], random numbers in [0, 1); None if choices are not drawn (`draws_choices`).
        """
        chosen: NDArray[np.int64] = log_probs.argmax(-1)
        return chosen

    def score(self, log_probs: NDArray[Any], choices: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the certainty of distributions [Q, n] with these choices [Q], float64 [Q]; None if it is not used."""
        return None
