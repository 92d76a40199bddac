"""Validity of a finished text by a rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.rewards.board import Board, Decision
from lm_gym.rewards.reward import Reward, Track, at_the_end


class Rule(Reward):
    """1 for a text that obeys the rule of the task, else 0; paid at its last position.

    Gold choices do not matter: any valid text is right. The task says what its rule is.
    """

    name = "rule"
    minimum = 0.0
    total_minimum = 0.0
    gold = frozenset({"rule"})
    summary = "1 at the end of a text that obeys the `rule`, else 0"

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Refuse to reward choices without their texts, which a rule needs."""
        raise ValueError("reward 'rule' needs whole texts, not only choices: use the environment's position_rewards")

    def track(self, board: Board) -> "RuleTrack":
        """Return a track, which knows the current texts."""
        return RuleTrack(self, board)


class RuleTrack(Track):
    """Validity of the current texts."""

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        if not decision.last.any():
            return np.zeros(len(decision.last))
        return np.where(decision.last, self._obeys(self.board.predictions), 0.0)

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        inside = self.board.targets < self.reward.choices.num_choices
        return at_the_end(self._obeys(choices)[..., None].astype(np.float64), inside)

    def _obeys(self, choices: NDArray[np.int64]) -> NDArray[np.bool_]:
        assert self.board.obeys is not None, "the task declares gold of kind 'rule' but has no rule"
        return self.board.obeys(choices)
