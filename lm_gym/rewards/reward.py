"""What a reward is: a score for each position, of whole texts at once or one position after another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lm_gym.naming import among

Observation = dict[str, NDArray[Any]]


class GoldError(ValueError):
    """A reward that does not understand a task's gold."""


class Choices(NamedTuple):
    """What a reward may know of the task beside the gold choices.

    Attributes:
        num_choices: n.
        names: what a user calls each choice: labels, or the vocabulary ids themselves.
        target_counts: int64 [n], how often each choice is gold in the training split.
        distribution: True where actions are distributions.
        gold: kinds of gold that the task's gold can be read as (see `Reward.gold`); None if that is not known.
    """

    num_choices: int
    names: Sequence[Any]
    target_counts: NDArray[np.int64]
    distribution: bool = False
    gold: frozenset[str] | None = None

    def find(self, name: object) -> int:
        """The number of a choice.

        Raises:
            ValueError: there is no such choice.
        """
        if name not in self.names:
            few = len(self.names) <= 50
            known = among(name, map(str, self.names)) if few else f": they are {self.names[0]!r} … {self.names[-1]!r}"
            raise ValueError(f"no choice {name!r}{known}")
        return self.names.index(name)


class Decision(NamedTuple):
    """One decision of every row.

    Attributes:
        choices: int64 [N], already written into the predictions.
        targets: int64 [N], the gold choices.
        log_probs: [N], log-probability of each target where actions are distributions, else None.
        cursor: int64 [N], the position decided.
        last: bool [N], whether it is the last one of its text.
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
        log_probs: float64 [N, T], log-probability of each target when its position was decided, where actions are
            distributions, else None.
    """

    decided: NDArray[np.bool_]
    last: NDArray[np.bool_]
    log_probs: NDArray[np.float64] | None


class Board(NamedTuple):
    """The live arrays of the episodes that a `Track` follows (never written by it).

    Attributes:
        targets: int64 [N, T], gold choices, n where padded.
        predictions: int64 [N, T], choices so far, n where undecided or padded.
        counts: int64 [N], positions.
        observe: gives the observation of some rows, each leaf [R, …].
    """

    targets: NDArray[np.int64]
    predictions: NDArray[np.int64]
    counts: NDArray[np.int64]
    observe: Callable[[NDArray[np.int64]], Observation]


class Reward(ABC):
    """A reward of positions.

    Attributes:
        name: how it is called in logs.
        minimum: lower bound of one position's reward, -inf where there is none.
        total_minimum: lower bound of the sum over a text.
        separable: True where a position's reward depends on its own choice only.
        gold: kinds of gold that it understands; one of them suffices. "choice": one right choice a position; "iob2":
            the choices are IOB2 tags. None: whatever the task has.
        summary: what it pays, in a line for the manuals; `{choice}` stands for what the task calls a choice.
        choices: what `bind` told it.
    """

    name: str = ""
    minimum: float = -np.inf
    total_minimum: float = -np.inf
    separable: bool = False
    gold: frozenset[str] | None = frozenset({"choice"})
    summary: str = "see its own documentation"
    choices: Choices

    def bind(self, choices: Choices) -> Self:
        """Give a copy that is ready for a task.

        Raises:
            GoldError: the reward does not understand the task's gold.
            ValueError: the reward makes no sense for the task.
        """
        if self.gold is not None and choices.gold is not None and not self.gold & choices.gold:
            needed, there = (" or ".join(sorted(kinds)) for kinds in (self.gold, choices.gold))
            raise GoldError(f"reward {self.name!r} needs gold of kind {needed}, and this task's is {there}")
        bound = copy(self)
        bound.choices = choices
        bound._prepare()
        return bound

    def _prepare(self) -> None:  # noqa: B027  (nothing to prepare is a fine default)
        """Build what depends on `self.choices`."""

    @abstractmethod
    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts.

        Args:
            choices: int64 [..., N, T]; ignored where padded.
            targets: int64 [N, T], n where padded.
            log_probs: [..., N, T], log-probability of each target, where actions are distributions.

        Returns:
            float32 [..., N, T], 0 where padded.
        """

    def track(self, board: Board) -> "Track":
        """Follow episodes position by position."""
        return Track(self, board)

    @property
    def term_names(self) -> tuple[str, ...]:
        """The names of the rewards that this one is a sum of."""
        return (self.name,)


class Track:
    """A reward along episodes. This one serves rewards with an `at`; others override `enter` and `pay`."""

    def __init__(self, reward: Reward, board: Board) -> None:
        self.reward = reward
        self.board = board

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Take note that these rows play new texts."""

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row.

        Returns:
            float64 [N]. What rows get that play nothing is arbitrary.
        """
        assert isinstance(self.reward, Separable)
        return self.reward.at(decision.choices, decision.targets, decision.log_probs)

    def pay_step(self, step: Step) -> NDArray[np.float32]:
        """Reward a step that decided some positions of every row.

        Positions that pay for themselves pay when they are decided, and the reward's minimum if the text ends with
        them open. Any other reward pays the whole text when it ends, at its last position.

        Returns:
            float32 [N, T].
        """
        predictions, n = self.board.predictions, self.reward.choices.num_choices
        if not self.reward.separable:
            scores = np.where(step.last[:, None], self.score(predictions, step.log_probs), 0.0)
            return at_the_end(scores, self.board.targets < n)
        made = predictions < n
        paid = np.where(step.decided, self.score(np.where(made, predictions, 0), step.log_probs), 0.0)
        left = step.last[:, None] & ~made & (self.board.targets < n)
        return np.where(left, min(self.reward.minimum, 0.0), paid).astype(np.float32)

    def step_terms(self, step: Step) -> dict[str, NDArray[np.float32]]:
        """What each term pays for a step, unweighted, by name."""
        return {self.reward.name: self.pay_step(step)}

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        return self.reward.score(choices, self.board.targets, log_probs)

    def terms(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> dict[str, NDArray[np.float32]]:
        """What each term pays position by position, unweighted, by name."""
        return {self.reward.name: self.score(choices, log_probs)}


def at_the_end(rewards: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Move the sum over the last axis to each text's last position; rewards [..., N, T], inside bool [N, T]."""
    last = np.zeros(inside.shape, np.float32)
    counts = inside.sum(-1)
    rows = np.flatnonzero(counts)
    last[rows, counts[rows] - 1] = 1.0
    return np.asarray(rewards.sum(-1, dtype=np.float64)[..., None] * last, np.float32)


class Separable(Reward):
    """A reward whose positions don't depend on one another."""

    separable = True

    @abstractmethod
    def at(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        """Reward decisions elementwise; choices and targets are in [0, n)."""

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        inside = targets < self.choices.num_choices
        paid = self.at(np.where(inside, choices, 0), np.where(inside, targets, 0), log_probs)
        return np.where(inside, paid, 0.0).astype(np.float32)
