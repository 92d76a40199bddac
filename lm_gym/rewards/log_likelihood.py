"""The log-likelihood of the gold choice, for distributions and, through a noisy channel, for choices."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.bounds import OpenUnitInterval
from lm_gym.rewards.board import Board, Decision, Observation
from lm_gym.rewards.choices import ChoiceRewards
from lm_gym.rewards.reward import Separable, Track

Reference = Callable[[Observation], NDArray[Any]]


class LogLikelihood(Separable):
    """The log-probability of the gold choice.

    If actions are distributions, this is the log score log p(target), a proper scoring rule (Good 1952). Its negative
    mean is the cross-entropy, whose exponential is the perplexity.

    If actions are choices, this is log p(target | action) with p(x | a) = (1 − ε)·[x = a] + ε·u(x): the likelihood of
    the target as the output of a channel that replaces the action by a draw from u with probability ε. The exponential
    of the reward, averaged over the choices of a policy π, is the policy's own likelihood of the text, smoothed:
    (1 − ε)·π(target) + ε·u(target). A wrong choice costs more if the target is rare.

    Args:
        epsilon: ε in (0, 1). With a larger ε, the policy learns less from tokens that it finds improbable.
        reference: u. None for the unigram distribution of the training split's targets, with one added to each
            count (Laplace); or a callable that maps the observation at the start of texts (each leaf [R, …]) to
            log-probabilities [R, T, n], such as a frozen reference model.

    Raises:
        ValueError: `epsilon` is outside (0, 1).
    """

    name = "log_likelihood"
    log_scale = True
    summary = (
        "log p(gold) of a distribution, whose negative mean is the cross-entropy; for a single {choice}, its "
        "log-likelihood under a noisy channel (`lm_gym.rewards.LogLikelihood`)"
    )

    def __init__(self, epsilon: OpenUnitInterval = 0.001, reference: Reference | None = None) -> None:
        self.epsilon = epsilon
        self.reference = reference

    def _prepare(self) -> None:
        smoothed = self.choices.target_counts + 1.0
        unigram = smoothed / smoothed.sum()
        self._noise = np.log(self.epsilon * unigram)
        self._right = np.log1p(-self.epsilon * (1.0 - unigram))
        self.enumerable = not self.choices.distribution
        if not self.choices.distribution and self.reference is None:
            self.minimum = float(self._noise.min())

    def at(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None
    ) -> NDArray[np.float64]:
        """Reward decisions elementwise."""
        if self.choices.distribution:
            if log_probs is None:
                raise ValueError("log_likelihood of distributions needs the log-probability of each target")
            return np.asarray(log_probs, np.float64)
        return np.asarray(np.where(choices == targets, self._right[targets], self._noise[targets]), np.float64)

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`).

        Raises:
            ValueError: the reward has a reference model, which needs the text.
        """
        if self.reference is not None and not self.choices.distribution:
            raise ValueError("a reference model needs the text: use the environment's position_rewards instead")
        return super().score(choices, targets, log_probs)

    def choice_rewards(self, targets: NDArray[np.int64]) -> ChoiceRewards:
        """Return the reward of every choice (see `Reward.choice_rewards`).

        Raises:
            ValueError: the reward has a reference model, which needs the text, or actions are distributions.
        """
        if self.reference is not None or not self.enumerable:
            return super().choice_rewards(targets)
        gold = np.minimum(targets, self.choices.num_choices - 1)
        return ChoiceRewards(self._right[gold].astype(np.float32), self._noise[gold, None].astype(np.float32))

    def track(self, board: Board) -> Track:
        """Return a track, which computes rewards position by position."""
        if self.reference is None or self.choices.distribution:
            return Track(self, board)
        return _ReferenceTrack(self, board)


class _ReferenceTrack(Track):
    """The noisy channel with a reference model as u, evaluated once for each text."""

    def __init__(self, reward: LogLikelihood, board: Board) -> None:
        super().__init__(reward, board)
        assert reward.reference is not None
        self._ask, self._epsilon = reward.reference, reward.epsilon
        self._stale = np.ones(len(board.counts), np.bool_)
        self._opened: dict[int, Observation] = {}
        self._log_u: NDArray[np.float32] | None = None

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Start new texts in these rows."""
        observation = self.board.observe(rows)
        for place, row in enumerate(rows.tolist()):
            self._opened[row] = {key: leaf[place] for key, leaf in observation.items()}
        self._stale[rows] = True

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        right, noise = self._channel()
        rows = np.arange(len(decision.choices))
        correct = decision.choices == decision.targets
        return np.where(correct, right[rows, decision.cursor], noise[rows, decision.cursor])

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        right, noise = self._channel()
        targets = self.board.targets
        inside = targets < self.reward.choices.num_choices
        return np.where(inside, np.where(choices == targets, right, noise), 0.0).astype(np.float32)

    def choice_rewards(self) -> ChoiceRewards:
        """Return the reward of every choice (see `Reward.choice_rewards`)."""
        right, noise = self._channel()
        return ChoiceRewards(right.astype(np.float32), noise[..., None].astype(np.float32))

    def _channel(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the rewards of the gold choice and of any other at each position, [N, T] each."""
        log_u = self._reference()
        gold = np.minimum(self.board.targets, log_u.shape[-1] - 1)[..., None]
        noise = np.log(self._epsilon) + np.take_along_axis(log_u, gold, -1)[..., 0].astype(np.float64)
        return np.logaddexp(np.log1p(-self._epsilon), noise), noise

    def _reference(self) -> NDArray[np.float32]:
        """Return log u, float32 [N, T, n]; the model is evaluated only for new texts."""
        if self._log_u is None:
            self._log_u = np.zeros((*self.board.targets.shape, self.reward.choices.num_choices), np.float32)
        rows = np.flatnonzero(self._stale)
        if len(rows):
            leaves = [self._opened[row] for row in rows.tolist()]
            log_u = np.asarray(self._ask({key: np.stack([leaf[key] for leaf in leaves]) for key in leaves[0]}))
            if log_u.shape != (len(rows), *self._log_u.shape[1:]):
                raise ValueError(
                    f"the reference of log_likelihood returned {log_u.shape}, not {(len(rows), *self._log_u.shape[1:])}"
                )
            if np.isnan(log_u).any():
                raise ValueError("the reference of log_likelihood returned NaN log-probabilities")
            self._log_u[rows] = log_u
            self._stale[rows] = False
        return self._log_u
