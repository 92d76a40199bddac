"""Composed rewards: weighted sums, sums paid at the end, and a user's function."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.registry import UserCodeError
from lm_gym.rewards.board import Board, Decision, Step
from lm_gym.rewards.choices import ChoiceRewards, Choices
from lm_gym.rewards.reward import Reward, Track, at_the_end

RewardFunction = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]], NDArray[Any]]


class WeightedSum(Reward):
    """A weighted sum of rewards.

    Args:
        parts: the rewards and their weights, finite numbers.

    Raises:
        ValueError: there are no parts, or a weight is not finite.
    """

    gold = None

    def __init__(self, parts: Mapping[str, tuple[Reward, float]]) -> None:
        if not parts:
            raise ValueError("the mapping of rewards is empty: name at least one, such as {'accuracy': 1.0}")
        for name, (_, weight) in parts.items():
            if not np.isfinite(weight):
                raise ValueError(f"the weight of reward {name!r} is {weight}: give a finite number")
        self.parts = tuple(reward for reward, _ in parts.values())
        self.weights = tuple(float(weight) for _, weight in parts.values())
        self.names = tuple(parts)
        self.name = "+".join(parts)

    def bind(self, choices: Choices) -> "WeightedSum":
        """Return a copy bound to a task, including its parts."""
        bound = super().bind(choices)
        bound.parts = tuple(part.bind(choices) for part in self.parts)
        bound.separable = all(part.separable for part in bound.parts)
        bound.enumerable = all(part.enumerable for part in bound.parts)
        bound.log_scale = all(part.log_scale for part in bound.parts)  # of a product of likelihoods
        bound.minimum = bound._bound([part.minimum for part in bound.parts])
        bound.total_minimum = bound._bound([part.total_minimum for part in bound.parts])
        return bound

    def _bound(self, minima: list[float]) -> float:
        """Return a lower bound of the sum; -inf with negative weights, because rewards have no upper bound."""
        if any(weight < 0 for weight in self.weights):
            return -np.inf
        return sum(w * m for w, m in zip(self.weights, minima, strict=True) if w > 0)

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        scores = (w * part.score(choices, targets, log_probs) for w, part in zip(self.weights, self.parts, strict=True))
        return np.asarray(sum(scores), np.float32)

    def track(self, board: Board) -> "WeightedSumTrack":
        """Return a track, which computes rewards position by position."""
        return WeightedSumTrack(self, board)

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms of the reward."""
        return self.names


class WeightedSumTrack(Track):
    """A weighted sum during episodes."""

    def __init__(self, reward: WeightedSum, board: Board) -> None:
        super().__init__(reward, board)
        self.tracks = [part.track(board) for part in reward.parts]
        self.weights, self.names = reward.weights, reward.names

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Start new texts in these rows."""
        for track in self.tracks:
            track.enter(rows)

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        paid = (weight * track.pay(decision) for weight, track in zip(self.weights, self.tracks, strict=True))
        return np.asarray(sum(paid), np.float64)

    def pay_step(self, step: Step) -> NDArray[np.float32]:
        """Reward a step that decided some positions of every row (see `Track.pay_step`)."""
        paid = (weight * track.pay_step(step) for weight, track in zip(self.weights, self.tracks, strict=True))
        return np.asarray(sum(paid), np.float32)

    def step_terms(self, step: Step) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted reward of each part for a step, by name."""
        return {name: track.pay_step(step) for name, track in zip(self.names, self.tracks, strict=True)}

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        scores = (w * track.score(choices, log_probs) for w, track in zip(self.weights, self.tracks, strict=True))
        return np.asarray(sum(scores), np.float32)

    def choice_rewards(self) -> ChoiceRewards:
        """Return the reward of every choice (see `Reward.choice_rewards`)."""
        parts = [(weight, track.choice_rewards()) for weight, track in zip(self.weights, self.tracks, strict=True)]
        gold, others = (np.asarray(sum(weight * part[i] for weight, part in parts), np.float32) for i in (0, 1))
        return ChoiceRewards(gold, others)

    def terms(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted rewards of each part by position."""
        return {name: track.score(choices, log_probs) for name, track in zip(self.names, self.tracks, strict=True)}


class AtTheEnd(Reward):
    """Another reward, paid as a sum at the last position of the text (`dense=False`)."""

    gold = None

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.name = reward.name

    def bind(self, choices: Choices) -> "AtTheEnd":
        """Return a copy bound to a task."""
        bound = super().bind(choices)
        bound.reward = self.reward.bind(choices)
        total = bound.reward.total_minimum
        bound.minimum, bound.total_minimum = min(total, 0.0), total
        return bound

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        return at_the_end(self.reward.score(choices, targets, log_probs), targets < self.choices.num_choices)

    def track(self, board: Board) -> "AtTheEndTrack":
        """Return a track, which computes rewards position by position."""
        return AtTheEndTrack(self, board)

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms of the reward."""
        return self.reward.term_names


class AtTheEndTrack(Track):
    """A sum during episodes, paid at the last position."""

    def __init__(self, reward: AtTheEnd, board: Board) -> None:
        super().__init__(reward, board)
        self.inner = reward.reward.track(board)
        self._sum = np.zeros(len(board.counts))

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Start new texts in these rows."""
        self._sum[rows] = 0.0
        self.inner.enter(rows)

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        self._sum += self.inner.pay(decision)
        return np.where(decision.last, self._sum, 0.0)

    def pay_step(self, step: Step) -> NDArray[np.float32]:
        """Reward a step that decided some positions of every row (see `Track.pay_step`)."""
        n = self.reward.choices.num_choices
        sofar = step._replace(decided=self.board.predictions < n, taken_back=None)  # all positions decided so far
        whole = self.inner.pay_step(sofar)
        return at_the_end(np.where(step.last[:, None], whole, 0.0), self.board.targets < n)

    def step_terms(self, step: Step) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted reward of each term for a step, by name."""
        return self.inner.step_terms(step)

    def score(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`)."""
        inside = self.board.targets < self.reward.choices.num_choices
        return at_the_end(self.inner.score(choices, log_probs), inside)

    def terms(self, choices: NDArray[np.int64], log_probs: NDArray[Any] | None) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted rewards of each term by position."""
        return self.inner.terms(choices, log_probs)


class FunctionReward(Reward):
    """A reward defined by a user's function.

    Args:
        function: maps (predictions int64 [N, T], targets int64 [N, T], mask bool [N, T]) to float [N], paid at the last
            position, or [N, T], paid at each. Undecided and padded predictions, and padded targets, are n. With
            `unit="token"` it is called at each step with the decisions so far, and column t is the reward of position
            t, which should depend only on predictions up to t. The function's attributes `minimum`, `separable` and
            `log_scale` apply, if it has them.
        name: its name in logs; by default the function's name.
    """

    gold = None

    def __init__(self, function: RewardFunction, name: str | None = None) -> None:
        self.function = function
        self.name = str(name or getattr(function, "__name__", type(function).__name__))
        self.minimum = float(getattr(function, "minimum", -np.inf))
        self.total_minimum = 0.0 if self.minimum >= 0 else -np.inf
        self.separable = bool(getattr(function, "separable", False))
        self.log_scale = bool(getattr(function, "log_scale", False))

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`); the function receives samples as further rows."""
        samples = int(np.prod(choices.shape[:-2], dtype=np.int64))
        many = np.broadcast_to(targets, (samples, *targets.shape)).reshape(-1, targets.shape[-1])
        paid = self.call(choices.reshape(many.shape), many)
        inside = many < self.choices.num_choices
        if paid.ndim == 1:
            paid = at_the_end(paid[:, None], inside).astype(np.float64)
        return np.where(inside, paid, 0.0).astype(np.float32).reshape(choices.shape)

    def call(self, predictions: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Call the function on rows [N, T]; return its rewards, [N] or [N, T].

        Raises:
            UserCodeError: the function raises, or returns another shape, NaN or infinity.
        """
        inside = targets < self.choices.num_choices
        given = np.where(inside, predictions, self.choices.num_choices)
        try:
            paid = np.asarray(self.function(given, targets.copy(), inside), np.float64)
        except Exception as error:
            raise UserCodeError.of(f"the reward {self.name}", error) from error
        if paid.shape not in ((len(targets),), targets.shape):
            raise UserCodeError(
                f"the reward {self.name} returned shape {paid.shape} for {len(targets)} texts: it must return "
                f"{(len(targets),)}, paid at the last position, or {targets.shape}"
            )
        if not np.isfinite(paid).all():
            raise UserCodeError(f"the reward {self.name} returned NaN or infinity: it must be finite, also at padding")
        return paid

    def track(self, board: Board) -> "FunctionTrack":
        """Return a track, which computes rewards position by position."""
        return FunctionTrack(self, board)


class FunctionTrack(Track):
    """A user's function during episodes."""

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        assert isinstance(self.reward, FunctionReward)
        paid = self.reward.call(self.board.predictions, self.board.targets)
        if paid.ndim == 1:
            return np.where(decision.last, paid, 0.0)
        return np.asarray(paid[np.arange(len(paid)), decision.cursor])

    def pay_step(self, step: Step) -> NDArray[np.float32]:
        """Reward a step that decided some positions of every row (see `Track.pay_step`)."""
        assert isinstance(self.reward, FunctionReward)
        paid = self.reward.call(self.board.predictions, self.board.targets)
        if paid.ndim == 1:
            inside = self.board.targets < self.reward.choices.num_choices
            return at_the_end(np.where(step.last, paid, 0.0)[:, None], inside)
        paid = np.where(step.decided, paid, 0.0)
        if step.taken_back is not None:
            back = step.taken_back < self.reward.choices.num_choices
            before = self.reward.call(np.where(back, step.taken_back, self.board.predictions), self.board.targets)
            paid = np.where(back, -before, paid)
        return paid.astype(np.float32)
