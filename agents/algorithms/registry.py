"""The algorithms by name. A new algorithm needs one file and one line here."""

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
    """Find an algorithm by its name in ALGORITHMS or by `module:name`.

    Raises:
        ValueError: the name is unknown, or the object is not a TextAlgorithm.
    """
    return find_class(ALGORITHMS, name, TextAlgorithm)
