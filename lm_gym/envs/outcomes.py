"""The outcome of a step, which decides one position of each text, the whole text, or some of its positions."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.envs.decisions import Decisions
from lm_gym.envs.episodes import Episodes
from lm_gym.envs.infos import decided_info, paid_info


class Outcome(NamedTuple):
    """The outcome of a step, before limits on steps and before new texts start.

    Attributes:
        rewards: float64 [N]; 0 in rows that do not play.
        terminated: bool [N]; False in rows that do not play.
        steps: int64 [N], number of steps that the text of each row has taken.
        info: see `lm_gym.envs.infos`.
    """

    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    steps: NDArray[np.int64]
    info: dict[str, Any]


def decide_position(episodes: Episodes, decisions: Decisions, live: NDArray[np.bool_] | None) -> Outcome:
    """Decide the position at the cursor of every row (`unit="token"`).

    Args:
        episodes: the current texts.
        decisions: of shape [N].
        live: bool [N], the rows that play; None for all.
    """
    rewards, terminated = episodes.decide(decisions.choices, decisions.log_probs, live)
    return Outcome(rewards, terminated, episodes.decided, {})


def decide_text(episodes: Episodes, decisions: Decisions, live: NDArray[np.bool_] | None) -> Outcome:
    """Decide all positions of every row (`unit="sequence"`).

    Args:
        episodes: the current texts.
        decisions: of shape [N, T].
        live: bool [N], the rows that play; None for all.
    """
    paid = episodes.decide_all(decisions.choices, decisions.log_probs, live)
    terminated = np.ones(len(paid), np.bool_) if live is None else live.copy()
    info: dict[str, Any] = {}
    if terminated.any():
        terms = episodes.track.terms(decisions.choices, decisions.log_probs) if _has_terms(episodes) else {}
        info = paid_info(paid, terms, terminated)
    return Outcome(paid.sum(-1, dtype=np.float64), terminated, terminated.astype(np.int64), info)


def decide_some(episodes: Episodes, decisions: Decisions, live: NDArray[np.bool_] | None, group_size: int) -> Outcome:
    """Decide some positions of every row (`unit="sequence"`, texts that take several steps).

    Args:
        episodes: the current texts.
        decisions: of shape [N, T].
        live: bool [N], the rows that play; None for all.
        group_size: number of rows that play the same text, which ends with the last of them.
    """
    step, moved = episodes.decide_some(decisions, live)
    paid = np.where(moved[:, None], episodes.track.pay_step(step), np.float32(0.0))
    together = episodes.finished.reshape(-1, group_size).all(1)
    terminated = np.repeat(together, group_size) & (True if live is None else live)
    info: dict[str, Any] = {}
    if live is None or live.any():
        played = np.ones(len(paid), np.bool_) if live is None else live
        terms = episodes.track.step_terms(step) if _has_terms(episodes) else {}
        info = paid_info(paid, terms, played) | decided_info(step.decided.sum(-1), played)
    rewards = paid.sum(-1, dtype=np.float64) - episodes.cost(step, moved)
    return Outcome(rewards, terminated, episodes.steps, info)


def _has_terms(episodes: Episodes) -> bool:
    """Return whether the reward is a sum of several terms, which the info lists separately."""
    return len(episodes.track.reward.term_names) > 1
