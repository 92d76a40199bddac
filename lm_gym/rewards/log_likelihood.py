"""The log score of a distribution, and its counterpart for choices: a noisy channel."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.rewards.reward import Board, ChoiceRewards, Decision, Observation, Separable, Track

Reference = Callable[[Observation], NDArray[Any]]


class LogLikelihood(Separable):
    """The log-probability of the gold choice.

    With distributions as actions it is the log score log p(target), a proper scoring rule (Good 1952): minus its
    mean is the cross-entropy, and the exponential of that the perplexity.

    With choices as actions it is log q(action | target), q = (1 − ε)·[action = target] + ε·u(action): the
    likelihood of the action as the output of a channel that replaces the target, with probability ε, by a draw from
    u. A wrong but frequent choice pays more than a wrong and rare one.

    Args:
        epsilon: ε in (0, 1).
        reference: u. None for the unigram distribution of the training split's targets, with one added to each
            count (Laplace); or a callable from an observation (each leaf [R, …], as the text was opened) to
            log-probabilities [R, T, n], such as a frozen reference model.

    Raises:
        ValueError: if `epsilon` is outside (0, 1).
    """

    name = "log_likelihood"
    log_scale = True
    summary = (
        "log p(gold) of a distribution, so that minus its mean is the cross-entropy; of one {choice}, its likelihood "
        "under a noisy channel (`lm_gym.rewards.LogLikelihood`)"
    )

    def __init__(self, epsilon: float = 0.1, reference: Reference | None = None) -> None:
        if not 0.0 < epsilon < 1.0:
            raise ValueError(f"epsilon={epsilon} is outside (0, 1): 0.1 is the default")
        self.epsilon = epsilon
        self.reference = reference

    def _prepare(self) -> None:
        smoothed = self.choices.target_counts + 1.0
        unigram = smoothed / smoothed.sum()
        self._wrong = np.log(self.epsilon * unigram)
        self._right = np.log1p(-self.epsilon * (1.0 - unigram))
        self.enumerable = not self.choices.distribution
        if not self.choices.distribution and self.reference is None:
            self.minimum = float(self._wrong.min())

    def at(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        """Reward decisions elementwise."""
        if self.choices.distribution:
            if log_probs is None:
                raise ValueError("log_likelihood of distributions needs the log-probability of each target")
            return np.asarray(log_probs, np.float64)
        return np.asarray(np.where(choices == targets, self._right[choices], self._wrong[choices]), np.float64)

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`).

        Raises:
            ValueError: if there is a reference, which must see the text.
        """
        if self.reference is not None and not self.choices.distribution:
            raise ValueError("a reference must see the text: ask the environment's position_rewards instead")
        return super().score(choices, targets, log_probs)

    def choice_rewards(self, targets: NDArray[np.int64]) -> ChoiceRewards:
        """Every choice's reward (see `Reward.choice_rewards`).

        Raises:
            ValueError: if there is a reference, which must see the text, or actions are distributions.
        """
        if self.reference is not None or not self.enumerable:
            return super().choice_rewards(targets)
        gold = self._right[np.minimum(targets, self.choices.num_choices - 1)]
        return ChoiceRewards(gold.astype(np.float32), self._wrong.astype(np.float32))

    def track(self, board: Board) -> Track:
        """Follow episodes position by position."""
        if self.reference is None or self.choices.distribution:
            return Track(self, board)
        return _ReferenceTrack(self, board)


class _ReferenceTrack(Track):
    """The noisy channel whose u is a model of the context, asked once for each text."""

    def __init__(self, reward: LogLikelihood, board: Board) -> None:
        super().__init__(reward, board)
        assert reward.reference is not None
        self._ask, self._epsilon = reward.reference, reward.epsilon
        self._stale = np.ones(len(board.counts), np.bool_)
        self._opened: dict[int, Observation] = {}
        self._log_u: NDArray[np.float32] | None = None

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Take note that these rows play new texts."""
        observation = self.board.observe(rows)
        for place, row in enumerate(rows.tolist()):
            self._opened[row] = {key: leaf[place] for key, leaf in observation.items()}
        self._stale[rows] = True

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        choices = decision.choices
        log_u = self._reference()[np.arange(len(choices)), decision.cursor, choices].astype(np.float64)
        return self._channel(choices == decision.targets, log_u)

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        targets = self.board.targets
        inside = targets < self.reward.choices.num_choices
        chosen = np.where(inside, choices, 0)
        rows, columns = np.indices(targets.shape)
        log_u = self._reference()[rows, columns, chosen].astype(np.float64)
        return np.where(inside, self._channel(chosen == targets, log_u), 0.0).astype(np.float32)

    def choice_rewards(self) -> ChoiceRewards:
        """Every choice's reward (see `Reward.choice_rewards`)."""
        log_u = self._reference()
        gold = np.minimum(self.board.targets, log_u.shape[-1] - 1)[..., None]
        right = self._channel(np.ones(1, np.bool_), np.take_along_axis(log_u, gold, -1).astype(np.float64))[..., 0]
        return ChoiceRewards(right.astype(np.float32), np.log(np.float32(self._epsilon)) + log_u)

    def _channel(self, right: NDArray[np.bool_], log_u: NDArray[np.float64]) -> NDArray[np.float64]:
        noise = np.log(self._epsilon) + log_u
        return np.asarray(np.where(right, np.logaddexp(np.log1p(-self._epsilon), noise), noise), np.float64)

    def _reference(self) -> NDArray[np.float32]:
        """Log u, float32 [N, T, n], asked for the rows that have changed."""
        if self._log_u is None:
            self._log_u = np.zeros((*self.board.targets.shape, self.reward.choices.num_choices), np.float32)
        rows = np.flatnonzero(self._stale)
        if len(rows):
            leaves = [self._opened[row] for row in rows.tolist()]
            log_u = np.asarray(self._ask({key: np.stack([leaf[key] for leaf in leaves]) for key in leaves[0]}))
            if log_u.shape != (len(rows), *self._log_u.shape[1:]):
                raise ValueError(
                    f"the reference of log_likelihood gave {log_u.shape}, not {(len(rows), *self._log_u.shape[1:])}"
                )
            if np.isnan(log_u).any():
                raise ValueError("the reference of log_likelihood gave NaN log-probabilities")
            self._log_u[rows] = log_u
            self._stale[rows] = False
        return self._log_u
