"""The algorithms by name: adding one is one file and one line here."""

from __future__ import annotations

from agents.ppo import PPO
from agents.presets import PRESETS
from agents.reinforce import REINFORCE
from agents.supervised import Supervised
from agents.text_algorithm import TextAlgorithm

ALGORITHMS: dict[str, type[TextAlgorithm]] = {
    "reinforce": REINFORCE,
    "supervised": Supervised,
    "ppo": PPO,
    **PRESETS,
}
