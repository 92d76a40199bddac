"""Exact match of a whole text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.rewards.board import Board, Decision
from lm_gym.rewards.reward import Reward, Track, at_the_end


class ExactMatch(Reward):
    """1 if every choice of a text is right, else 0; paid at its last position."""

    name = "exact_match"
    minimum = 0.0
    total_minimum = 0.0
    summary = "1 at the end of a text if every {choice} is right, else 0"

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        inside = targets < self.choices.num_choices
        right = ((choices == targets) | ~inside).all(-1)
        return at_the_end(right[..., None].astype(np.float64), inside)

    def track(self, board: Board) -> "ExactMatchTrack":
        """Return a track, which computes rewards position by position."""
        return ExactMatchTrack(self, board)


class ExactMatchTrack(Track):
    """Exact match of whole texts during episodes."""

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        right = (self.board.predictions == self.board.targets).all(-1)  # n where padded, in both
        return np.where(decision.last & right, 1.0, 0.0)
