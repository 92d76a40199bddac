"""The algorithms by name: adding one is one file and one line here."""

from __future__ import annotations

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.reinforce import REINFORCE
from agents.supervised import Supervised

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"reinforce": REINFORCE, "supervised": Supervised}
