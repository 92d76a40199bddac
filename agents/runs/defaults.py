"""Default settings of a run that depend on the algorithm."""

from __future__ import annotations

from typing import Any

from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.ppo import PPO
from lm_gym.agents.algorithms.presets import (
    ARS,
    CMAES,
    CRFMNES,
    DE,
    ES,
    FZOO,
    GA,
    LOZO,
    PGPE,
    PSO,
    SA,
    SNES,
    ZOSGD,
    HiZOO,
    LowRankES,
    MeZO,
    SubZero,
)
from lm_gym.agents.algorithms.schedules import ScheduledRate
from lm_gym.tasks.task import HeadKind

_FEW = {"env.num_envs": 8}  # for strategies that average over generations; others need more texts
DEFAULTS: dict[type, dict[str, Any]] = {
    ScheduledRate: {"agent.schedule": "linear", "agent.warmup": 0.06},  # a run knows its total budget; `learn` does not
    PPO: {"log_interval": 1},
    BlackBox: {"env.num_envs": 64},
    ES: _FEW,
    SNES: _FEW,
    MeZO: _FEW,
    LowRankES: _FEW,
    **dict.fromkeys((ARS, CRFMNES, FZOO, HiZOO, LOZO, PGPE, SubZero, ZOSGD), _FEW),
    GA: {"env.num_envs": 16},
}


BY_HEAD: dict[HeadKind, dict[type, dict[str, Any]]] = {
    "labels": {  # members cost little, so encoding texts takes most of the time; kept texts are not encoded again
        LOZO: {"env.num_envs": 16, "agent.new_texts_every": 8},
        SA: {"env.num_envs": 32, "agent.new_texts_every": 32},
    },
    "vocabulary": {
        **{kind: {"env.num_envs": 16} for kind in (CMAES, DE, PSO)},  # members pay for the vocabulary at each position
        PPO: {"env.group_size": 256, "env.num_envs": 8},  # rows that draw few tokens make all others less probable
        SA: {"env.num_envs": 512},  # with fewer texts, its steps fit only these texts
    },
}


def defaults_of(algorithm: type, head: HeadKind | None = None) -> dict[str, Any]:
    """Return the defaults of an algorithm by dotted key; its own defaults override those of its bases.

    Args:
        algorithm: class of the algorithm.
        head: head of the task; None for the defaults that apply to all heads.
    """
    found: dict[str, Any] = {}
    for kind in reversed(algorithm.__mro__):
        found |= DEFAULTS.get(kind, {})
        if head is not None:
            found |= BY_HEAD.get(head, {}).get(kind, {})
    return found
