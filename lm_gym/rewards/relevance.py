"""The relevance of the choice made, with a cost of irrelevant ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.bounds import NonNegativeFloat
from lm_gym.ranking import repeated
from lm_gym.rewards.board import Board, Decision, Step
from lm_gym.rewards.choices import ChoiceRewards
from lm_gym.rewards.reward import Separable, Track


class Relevance(Separable):
    """Pay the relevance of the choice made, and charge a cost if it is not relevant at all.

    A choice that an earlier position of the text has made is not relevant. Abstaining, if the task allows it, pays 0.
    If the right choice has relevance 1 and `wrong_cost` is c, abstaining pays off if the probability of the right
    choice is below c / (1 + c).

    Args:
        wrong_cost: cost of a choice with relevance 0.
    """

    name = "relevance"
    total_minimum = -np.inf
    enumerable = True
    gold = frozenset({"relevance"})
    summary = "the relevance of the {choice}, or `-wrong_cost` if that is 0; abstaining pays 0"

    def __init__(self, wrong_cost: NonNegativeFloat = 0.0) -> None:
        self.wrong_cost = wrong_cost
        self.minimum = -wrong_cost
        if wrong_cost == 0:
            self.total_minimum = 0.0

    def _prepare(self) -> None:
        self.separable = self.enumerable = not self.choices.distinct

    def weights(self, positions: int) -> NDArray[np.float64]:
        """Return the weight of each position, float64 [T]."""
        return np.ones(positions)

    def payoffs(self, gains: NDArray[np.float64], positions: int) -> NDArray[np.float64]:
        """Return the reward of each choice by its relevance, float64 [N, n] → [N, n], for texts of T positions."""
        paid = np.where(gains > 0, gains, -self.wrong_cost)
        if self.choices.abstention is not None:
            paid[:, self.choices.abstention] = 0.0
        return paid

    def at(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        """Reward decisions elementwise without knowledge of the texts: the gold choice has the relevance 1."""
        paid = np.where(choices == targets, 1.0, -self.wrong_cost)
        return paid if self.choices.abstention is None else np.where(choices == self.choices.abstention, 0.0, paid)

    def choice_rewards(self, targets: NDArray[np.int64]) -> ChoiceRewards:
        """Return the reward of every choice, without knowledge of the texts (see `Reward.choice_rewards`)."""
        every = np.arange(self.choices.num_choices)
        others = self.at(every, np.full_like(every, -1), None)
        return ChoiceRewards(self.at(targets, targets, None).astype(np.float32), others.astype(np.float32))

    def track(self, board: Board) -> Track:
        """Return a track, which knows the relevance of choices in the current texts if the task does."""
        return Track(self, board) if board.gains is None else RelevanceTrack(self, board)


class RelevanceTrack(Track):
    """The relevance of choices in the current texts."""

    reward: Relevance

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        rows, payoffs = np.arange(len(decision.choices)), self._payoffs()
        again = (self.board.predictions == decision.choices[:, None]).sum(1) > 1
        choices = np.where(again, payoffs.shape[1], decision.choices)
        return self._worthless(payoffs)[rows, choices] * self._weights()[decision.cursor]

    def pay_step(self, step: Step) -> NDArray[np.float32]:
        """Reward a step that decided some positions of every row (see `Track.pay_step`)."""
        if self.reward.separable:
            return super().pay_step(step)
        return np.where(step.decided, self.score(self.board.predictions, step.log_probs), np.float32(0.0))

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        payoffs = self._payoffs()
        inside = self.board.targets < payoffs.shape[1]
        choices = np.where(repeated(choices) | ~inside, payoffs.shape[1], choices)
        paid = self._worthless(payoffs)[np.arange(len(payoffs))[:, None], choices] * self._weights()
        return np.where(inside, paid, 0.0).astype(np.float32)

    def choice_rewards(self) -> ChoiceRewards:
        """Return the reward of every choice (see `Reward.choice_rewards`)."""
        payoffs = self._payoffs().astype(np.float32)
        targets = np.minimum(self.board.targets, payoffs.shape[1] - 1)
        return ChoiceRewards(np.take_along_axis(payoffs, targets, axis=1), payoffs[:, None])

    def _payoffs(self) -> NDArray[np.float64]:
        assert self.board.gains is not None
        return self.reward.payoffs(self.board.gains, self.board.targets.shape[1])

    def _weights(self) -> NDArray[np.float64]:
        return self.reward.weights(self.board.targets.shape[1])

    def _worthless(self, payoffs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add a last choice without relevance, float64 [N, n] → [N, n + 1]."""
        return np.pad(payoffs, ((0, 0), (0, 1)), constant_values=-self.reward.wrong_cost)
