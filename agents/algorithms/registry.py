"""The algorithms by name: adding one is one file and one line here."""

from __future__ import annotations

from lm_gym.agents.algorithms.ppo import PPO
from lm_gym.agents.algorithms.presets import PRESETS
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm

ALGORITHMS: dict[str, type[TextAlgorithm]] = {
    "reinforce": REINFORCE,
    "supervised": Supervised,
    "ppo": PPO,
    **PRESETS,
}
