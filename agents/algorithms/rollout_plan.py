"""How PPO learns from rollouts: the meaning of `"auto"`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from stable_baselines3.common.buffers import DictRolloutBuffer

from lm_gym.agents.algorithms.group_advantages import GroupAdvantage
from lm_gym.agents.algorithms.pairing import FEW, Estimator, pair
from lm_gym.agents.algorithms.step_buffer import StepRolloutBuffer
from lm_gym.agents.algorithms.text_buffer import TextRolloutBuffer
from lm_gym.envs import TextVectorEnv

MOST_STEPS = 64  # of a row in a rollout
_TEXTS = 64  # approximate number of rows of the environment in a minibatch
_POSITIONS = 256  # minimum number of positions in a minibatch, if groups have many rows
_ROWS = 16  # usual number of rows of a group


@dataclass(frozen=True)
class RolloutArguments:
    """The arguments of PPO that decide how it learns from a reward; each can be `"auto"` (see `PPO`)."""

    gamma: float | Literal["auto"]
    advantage: GroupAdvantage | Literal["auto"]
    behaviour: Literal["policy", "without_replacement", "auto"]
    vf_coef: float | Literal["auto"]


@dataclass(frozen=True)
class RolloutPlan:
    """The way in which PPO learns from an environment.

    Attributes:
        gamma: γ.
        vf_coef: weight of the critic's loss.
        buffer_class: class of the rollout buffer.
        buffer_kwargs: its arguments.
    """

    gamma: float
    vf_coef: float
    buffer_class: type[DictRolloutBuffer]
    buffer_kwargs: dict[str, Any]


def plan_rollouts(asked: RolloutArguments, first: TextVectorEnv) -> RolloutPlan:
    """Return how PPO learns from an environment: the given values, or decisions for `"auto"`.

    Args:
        asked: the arguments.
        first: the environment, or the first of several equal ones.

    Raises:
        ValueError: the combination is meaningless; the message says what to do.
    """
    if first.settings.unit == "sequence":
        return _plan_steps(asked, first.group_size)
    reward, group_size = first.reward, first.group_size
    apart = group_size == 1 or first.task.writes  # rows have no other rows to compare with
    usual: GroupAdvantage = "gae" if apart else "leave_one_out"
    estimator = pair(reward, asked.gamma, asked.advantage, usual)
    told = estimator.alone and reward.enumerable
    if asked.advantage == "auto" and apart and not told:
        estimator = pair(reward, asked.gamma, "gae", "gae")
    advantage = estimator.advantage
    distinct = _draws_distinct(asked, first, estimator)
    exact = told and advantage == "maximum_likelihood" and (apart or distinct)
    if advantage != "gae" and first.task.writes and not exact:
        raise ValueError(
            f"advantage {advantage!r} compares rows that read the same text, but here decisions change the text: "
            "use advantage='gae', or reward='log_likelihood' with gamma=0, whose mean needs no other rows"
        )
    kwargs = {
        "advantage": advantage,
        "group_size": group_size,
        "log_scale": estimator.log_scale,
        "distinct": distinct,
        "exact": exact,
    }
    vf_coef = (0.5 if advantage == "gae" else 0.0) if asked.vf_coef == "auto" else asked.vf_coef
    return RolloutPlan(estimator.gamma, vf_coef, TextRolloutBuffer, kwargs)


def _plan_steps(asked: RolloutArguments, group_size: int) -> RolloutPlan:
    """Plan γ = 1 and `gae` for steps that decide several positions each: rows then read different texts."""
    if asked.advantage not in ("auto", "gae") or group_size > 1:
        raise ValueError(
            f"advantage={asked.advantage!r}, group_size={group_size}: rows that decide several positions per "
            "step read different texts: use advantage='gae' and make the environment with group_size=1"
        )
    gamma = 1.0 if asked.gamma == "auto" else asked.gamma
    return RolloutPlan(gamma, 0.5 if asked.vf_coef == "auto" else asked.vf_coef, StepRolloutBuffer, {})


def _draws_distinct(asked: RolloutArguments, first: TextVectorEnv, estimator: Estimator[GroupAdvantage]) -> bool:
    """Return whether the rows of a group draw different choices."""
    choices, masked = first.task.shape.choices, first.settings.mask_actions
    alike = first.group_size > 1 and not first.task.writes and not masked  # rows decide the same position
    fitting = alike and estimator.alone and estimator.advantage != "gae" and choices >= first.group_size
    if asked.behaviour == "auto":
        return fitting and choices > FEW
    if asked.behaviour == "without_replacement" and not fitting:
        raise ValueError(
            f"behaviour 'without_replacement' needs groups of at most as many rows as the {choices} choices, a "
            "separable reward, gamma=0, and no action masks: use behaviour='policy'"
        )
    return asked.behaviour == "without_replacement"


def steps_for(length: float) -> int:
    """Return the steps of a rollout for texts of this length: about four texts per row, a power of two from 8 to 64."""
    return int(2 ** round(min(max(math.log2(4 * length), 3), math.log2(MOST_STEPS))))


def batch_size_for(steps: int, group_size: int = 1) -> int:
    """Return the steps of a minibatch: 64 rows of the environment, and 256 positions if groups have many rows.

    Args:
        steps: steps of a row in a rollout.
        group_size: number of rows that play the same text.
    """
    return max(_TEXTS * steps, _POSITIONS * group_size if group_size > _ROWS else 0)
