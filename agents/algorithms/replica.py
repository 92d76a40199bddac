"""Copies of a gradient-free agent in other processes, which evaluate a part of its members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.algorithms.fitness import Part, PopulationFitness
from lm_gym.agents.algorithms.population_search import PopulationSearch
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import AgentReplica, Start


@dataclass(frozen=True)
class Update:
    """An update of the search. With it, every replica makes the same step from the same numbers.

    Attributes:
        fitness: float64 [P].
        rate: factor of the learning rate.
    """

    fitness: NDArray[np.float64]
    rate: float


@dataclass(frozen=True)
class Order:
    """Chunks of members to evaluate. The replica computes the members and their texts itself.

    Attributes:
        generation: number of the generation; with the seed, it determines the members' noise.
        draws: number of texts drawn before those of the generation; it determines their indices.
        chunks: indices of the chunks.
    """

    generation: int
    draws: int
    chunks: range


class Replica(AgentReplica[PopulationSearch]):
    """A replica of a gradient-free agent."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._draws: int | None = None
        self._population: PopulationFitness | None = None

    def parts(self, order: Order) -> list[Part]:
        """Evaluate some chunks.

        Raises:
            WorkerError: the replica is in another generation.
        """
        agent = self.agent
        if agent.optimizer.generation != order.generation:
            raise WorkerError(f"the replica is in generation {agent.optimizer.generation}, not {order.generation}")
        if self._draws != order.draws:
            agent.read(order.draws)
            self._draws, self._population = order.draws, None
        agent.optimizer.ask()  # tensors that the update changes in place
        with agent.generation():
            if self._population is None:
                self._population, _ = agent.evaluation(self._texts)
            return [self._population.part(chunk) for chunk in order.chunks]

    def update(self, update: Update) -> None:
        """Make the agent's update."""
        self._population = None
        self.agent.update(th.from_numpy(update.fitness), update.rate)
