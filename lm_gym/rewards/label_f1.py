"""F1 of the labels of a text, paid as it changes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.rewards.board import Board, Decision
from lm_gym.rewards.reward import Reward, Track


class LabelF1(Reward):
    """The change in the F1 of a text's labels at each position (example-based F1, Zhang and Zhou 2014).

    Choices are no (0) and yes (1), one for each label. After each position the potential is 2·TP / (predicted + gold),
    where TP and predicted count the decisions so far and gold counts the labels of the whole text. A text without gold
    and predicted labels has potential 1. The potential before the first position is 0, so that the rewards of a text
    sum to its F1.
    """

    name = "label_f1"
    minimum = -1.0
    total_minimum = 0.0
    gold = frozenset({"set"})
    summary = "the change in the F1 of the text's labels caused by each {choice}; the changes of a text sum to its F1"

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        inside = targets < self.choices.num_choices
        gold = (targets == 1) & inside
        given = (choices == 1) & inside
        correct, predicted = (given & gold).cumsum(-1), given.cumsum(-1)
        potential = _f1(correct, predicted, gold.sum(-1, keepdims=True))
        paid = np.diff(potential, axis=-1, prepend=0.0)
        return np.where(inside, paid, 0.0).astype(np.float32)

    def track(self, board: Board) -> "LabelF1Track":
        """Return a track, which computes rewards position by position."""
        return LabelF1Track(self, board)


class LabelF1Track(Track):
    """F1 of labels during episodes."""

    def __init__(self, reward: LabelF1, board: Board) -> None:
        super().__init__(reward, board)
        self._counts = np.zeros((3, len(board.counts)), np.int64)  # correct, predicted, gold
        self._potential = np.zeros(len(board.counts))

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Start new texts in these rows."""
        self._counts[:2, rows] = 0
        self._counts[2, rows] = (self.board.targets[rows] == 1).sum(-1)
        self._potential[rows] = 0.0

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        given = decision.choices == 1
        self._counts[0] += given & (decision.targets == 1)
        self._counts[1] += given
        now = _f1(*self._counts)
        paid, self._potential = now - self._potential, now
        return np.asarray(paid)


def _f1(correct: NDArray[np.int64], predicted: NDArray[np.int64], gold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 2 · correct / (predicted + gold), elementwise; 1 if there is neither."""
    total = predicted + gold
    return np.where(total > 0, 2.0 * correct / np.maximum(total, 1), 1.0)
