"""The algorithms by name: adding one is one file and one line here."""

from __future__ import annotations

from lm_gym.agents.algorithms.ppo import PPO
from lm_gym.agents.algorithms.presets import PRESETS
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.registry import Registry, class_registrar, find_class

_ENTRIES: dict[str, type[TextAlgorithm]] = {
    "reinforce": REINFORCE,
    "supervised": Supervised,
    "ppo": PPO,
    **PRESETS,
}
ALGORITHMS = Registry("algorithm", _ENTRIES)
register_algorithm = class_registrar(ALGORITHMS)


def find_algorithm(name: str) -> type[TextAlgorithm]:
    """The algorithm of a name in ALGORITHMS, or of `module:name`.

    Raises:
        ValueError: there is none, or it is no TextAlgorithm.
    """
    return find_class(ALGORITHMS, name, TextAlgorithm)
