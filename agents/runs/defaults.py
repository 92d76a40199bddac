"""Settings of a run that differ from the usual ones, by algorithm."""

from __future__ import annotations

from typing import Any

from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.ppo import PPO
from lm_gym.agents.algorithms.presets import (
    ARS,
    CRFMNES,
    ES,
    FZOO,
    GA,
    LOZO,
    PGPE,
    SNES,
    ZOSGD,
    HiZOO,
    LowRankES,
    MeZO,
    SubZero,
)
from lm_gym.agents.algorithms.schedules import ScheduledRate

_FEW = {"env.num_envs": 8}  # of strategies that average over generations; those that keep a best member take more
DEFAULTS: dict[type, dict[str, Any]] = {
    ScheduledRate: {"agent.schedule": "linear", "agent.warmup": 0.06},  # a run knows where it ends, `learn` does not
    PPO: {"log_interval": 1},
    BlackBox: {"env.reward": "log_likelihood", "env.num_envs": 64},
    ES: _FEW,
    SNES: _FEW,
    MeZO: _FEW,
    LowRankES: _FEW,
    **dict.fromkeys((ARS, CRFMNES, FZOO, HiZOO, LOZO, PGPE, SubZero, ZOSGD), _FEW),
    GA: {"env.num_envs": 16},
}


def defaults_of(algorithm: type) -> dict[str, Any]:
    """The defaults of an algorithm by dotted key: its own over those of its bases."""
    found: dict[str, Any] = {}
    for kind in reversed(algorithm.__mro__):
        found |= DEFAULTS.get(kind, {})
    return found
