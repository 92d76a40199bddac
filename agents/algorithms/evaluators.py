"""Evaluators of the members of a generation, in this process or by replicas elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch as th

from lm_gym.agents.algorithms.fitness import Judged, PopulationFitness

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.population_search import PopulationSearch


class Evaluator(ABC):
    """Base class of evaluators for the generations of a search."""

    @abstractmethod
    def judge(self, agent: PopulationSearch, population: PopulationFitness) -> Judged:
        """Evaluate all members of the current generation.

        Every evaluator gives the same numbers, bit for bit, because it computes the same chunks and combines them in
        the same order.

        Args:
            agent: the agent, before the update of this generation.
            population: the evaluation of its members on the current texts.

        Raises:
            WorkerError: the members cannot be evaluated.
        """

    @abstractmethod
    def updated(self, fitness: th.Tensor, rate: float) -> None:
        """Handle an update that the agent has made: `agent.update(fitness, rate)`."""

    def logs(self) -> dict[str, float]:
        """Return numbers to log."""
        return {}


class LocalEvaluator(Evaluator):
    """Evaluates the members in this process."""

    def judge(self, agent: PopulationSearch, population: PopulationFitness) -> Judged:
        """See Evaluator."""
        return population.total(population.part(chunk) for chunk in range(len(population.chunks)))

    def updated(self, fitness: th.Tensor, rate: float) -> None:
        """Do nothing: there is nothing else to update."""
