"""The base class of rewards, which score positions: whole texts at once or position by position."""

from abc import ABC, abstractmethod
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lm_gym.bounds import Bounded
from lm_gym.rewards.board import Board, Decision, Step
from lm_gym.rewards.choices import ChoiceRewards, Choices, GoldError


class Reward(Bounded, ABC):
    """Base class of rewards.

    Attributes:
        name: name in logs.
        minimum: lower bound of the reward of a position; -inf if there is none.
        total_minimum: lower bound of the sum over a text.
        separable: whether the reward of a position depends only on the choice at that position.
        log_scale: whether the reward r of a position is the logarithm of a likelihood. Policy gradients then climb
            log E[exp(r)]: E[r] is highest at a policy that always makes the same choice.
        enumerable: whether `choice_rewards` gives the reward of every choice at once. Such a reward is separable, and
            algorithms need no samples.
        gold: kinds of gold that it understands, one of which the task must offer. "choice": one correct choice per
            position; "iob2": the choices are IOB2 tags; "set": choice 1 gives the text a label, and choice 0 does not;
            "relevance": every choice has a relevance; "rule": a finished text obeys a rule or breaks it. None: any
            kind.
        summary: a line for the manuals; `{choice}` stands for the task's noun for a choice.
        choices: facts about the task, after `bind`.
    """

    name: str = ""
    minimum: float = -np.inf
    total_minimum: float = -np.inf
    separable: bool = False
    log_scale: bool = False
    enumerable: bool = False
    gold: frozenset[str] | None = frozenset({"choice"})
    summary: str = "see its own documentation"
    choices: Choices

    def bind(self, choices: Choices) -> Self:
        """Return a copy bound to a task.

        Raises:
            GoldError: the reward does not understand the task's gold.
            ValueError: the reward does not suit the task.
        """
        if self.gold is not None and choices.gold is not None and not self.gold & choices.gold:
            needed, there = (" or ".join(sorted(kinds)) for kinds in (self.gold, choices.gold))
            raise GoldError(f"reward {self.name!r} needs gold of kind {needed}, but this task has {there}")
        bound = copy(self)
        bound.choices = choices
        bound._prepare()
        return bound

    def _prepare(self) -> None:
        """Compute everything that depends on `self.choices`."""

    @abstractmethod
    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts.

        Args:
            choices: int64 [..., N, T]; ignored where padded.
            targets: int64 [N, T]; n where padded.
            log_probs: [..., N, T], log-probability of each target, if actions are distributions.

        Returns:
            float32 [..., N, T]; 0 where padded.
        """

    def choice_rewards(self, targets: NDArray[np.int64]) -> ChoiceRewards:
        """Return the reward of every choice at positions whose gold choices are `targets`, int64 [N, T].

        Raises:
            ValueError: the reward is not `enumerable`.
        """
        raise ValueError(f"reward {self.name!r} is not enumerable: ask for the rewards of given choices (score)")

    def track(self, board: Board) -> "Track":
        """Return a track, which computes rewards position by position."""
        return Track(self, board)

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms of the reward."""
        return (self.name,)


class Track:
    """A reward during episodes. This class serves separable rewards; others override `enter` and `pay`."""

    def __init__(self, reward: Reward, board: Board) -> None:
        self.reward = reward
        self.board = board

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Start new texts in these rows."""

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row.

        Returns:
            float64 [N]; arbitrary in rows that do not play.
        """
        assert isinstance(self.reward, Separable)
        return self.reward.at(decision.choices, decision.targets, decision.log_probs)

    def pay_step(self, step: Step) -> NDArray[np.float32]:
        """Reward a step that decided some positions of every row.

        Separable rewards pay each position when it is decided, take the reward back when it is opened again, and pay
        their minimum if the text ends while it is open. Other rewards pay for the whole text when it ends, at its last
        position.

        Returns:
            float32 [N, T].
        """
        predictions, n = self.board.predictions, self.reward.choices.num_choices
        if not self.reward.separable:
            scores = np.where(step.last[:, None], self.score(predictions, step.log_probs), 0.0)
            return at_the_end(scores, self.board.targets < n)
        made = predictions < n
        paid = np.where(step.decided, self.score(np.where(made, predictions, 0), step.log_probs), 0.0)
        if step.taken_back is not None:
            back = step.taken_back < n
            paid = np.where(back, -self.score(np.where(back, step.taken_back, 0), step.log_probs), paid)
        left = step.last[:, None] & ~made & (self.board.targets < n)
        return np.where(left, min(self.reward.minimum, 0.0), paid).astype(np.float32)

    def step_terms(self, step: Step) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted reward of each term for a step, by name."""
        return {self.reward.name: self.pay_step(step)}

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        return self.reward.score(choices, self.board.targets, log_probs)

    def choice_rewards(self) -> ChoiceRewards:
        """Return the reward of every choice (see `Reward.choice_rewards`)."""
        return self.reward.choice_rewards(self.board.targets)

    def terms(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted rewards of each term by position."""
        return {self.reward.name: self.score(choices, log_probs)}


def at_the_end(rewards: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Move the sum over the last axis to each text's last position; rewards [..., N, T], inside bool [N, T]."""
    last = np.zeros(inside.shape, np.float32)
    counts = inside.sum(-1)
    rows = np.flatnonzero(counts)
    last[rows, counts[rows] - 1] = 1.0
    return np.asarray(rewards.sum(-1, dtype=np.float64)[..., None] * last, np.float32)


class Separable(Reward):
    """Base class of rewards whose positions are independent."""

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
