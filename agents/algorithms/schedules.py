"""Learning-rate schedules over the fraction of training that remains, as Stable-Baselines3 calls them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gymnasium.vector import VectorEnv
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import FloatSchedule, update_learning_rate

from lm_gym.agents.algorithms.defaults import default_of, is_auto, rate_at
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.bounds import Fraction, NonNegativeFloat, UnitInterval, bounded

Schedule = Literal["constant", "linear", "cosine"]


@bounded
@dataclass(frozen=True)
class LearningRate:
    """A warm-up from 0, followed by a constant rate or a decay, linear or along half a cosine (SGDR, arXiv 1608.03983).

    Attributes:
        peak: the highest learning rate.
        schedule: `"constant"`, `"linear"` or `"cosine"`.
        warmup: fraction of training during which the rate rises to the peak, in [0, 1).
        end_factor: the fraction of the peak at the end of a decay, in [0, 1].
    """

    peak: NonNegativeFloat
    schedule: Schedule = "constant"
    warmup: Fraction = 0.0
    end_factor: UnitInterval = 0.0

    def __post_init__(self) -> None:
        if self.end_factor and self.schedule == "constant":
            raise ValueError(
                f"end_factor={self.end_factor} is where a decay ends: use schedule='linear' or 'cosine', or "
                "leave it out"
            )

    def __call__(self, progress_remaining: float) -> float:
        """Return the rate when a fraction `progress_remaining` (1 → 0) of training is left."""
        done = 1.0 - progress_remaining
        if done < self.warmup:
            return self.peak * done / self.warmup
        if self.schedule == "constant":
            return self.peak
        remaining = max(progress_remaining, 0.0) / (1.0 - self.warmup)
        if self.schedule == "cosine":
            remaining = (1.0 - math.cos(math.pi * remaining)) / 2
        return self.peak * (self.end_factor + (1.0 - self.end_factor) * remaining)


class ScheduledRate(TextAlgorithm):
    """A TextAlgorithm whose rate is a `LearningRate`, unless `learning_rate` is a schedule itself.

    Args:
        policy, env, algorithm: see TextAlgorithm.
        learning_rate: AdamW's learning rate. `"auto"`: the rate in `defaults.TABLE` for the policy's model, or 1e-3
            without a language model. A Stable-Baselines3 schedule replaces `schedule`, `warmup` and `end_factor`.
        schedule: `"constant"`, or a decay down to `end_factor` at the end of `learn`: `"linear"` or `"cosine"`.
        warmup: fraction of training over which the rate rises from 0.
        end_factor: fraction of the rate that is left at the end of a decay, so that another run can continue there.
    """

    def __init__(
        self,
        policy: str | type[LMPolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        learning_rate: NonNegativeFloat | Literal["auto"] | Callable[[float], float] = "auto",
        *,
        schedule: Schedule = "constant",
        warmup: Fraction = 0.0,
        end_factor: UnitInterval = 0.0,
        **algorithm: Any,
    ) -> None:
        self.schedule, self.warmup, self.end_factor = schedule, warmup, end_factor
        super().__init__(policy, env, learning_rate, **algorithm)

    def _setup_model(self) -> None:
        super()._setup_model()
        if is_auto(self.learning_rate):
            self.learning_rate, self.decided["learning_rate"] = default_rate(type(self), self.policy)
            self._setup_lr_schedule()
            update_learning_rate(self.policy.optimizer, self.lr_schedule(1.0))

    def _setup_lr_schedule(self) -> None:
        if callable(self.learning_rate):
            self.lr_schedule = FloatSchedule(self.learning_rate)
        elif is_auto(self.learning_rate):  # until the model is known
            self.lr_schedule = FloatSchedule(0.0)
        else:
            self.lr_schedule = LearningRate(self.learning_rate, self.schedule, self.warmup, self.end_factor)


def default_rate(algorithm: type, policy: Any) -> tuple[float, str]:
    """Return the learning rate of an algorithm for a policy, and the reason."""
    if not isinstance(policy, LMPolicy):
        return 1e-3, "no language model"
    start = policy.start
    rate = default_of(algorithm, start).get("learning_rate", 1e-3)
    return rate_at(rate, start.hidden_size), str(start)
