"""A generation of a gradient-free search: members are evaluated, and the optimizer learns from their fitness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.agents.algorithms.evaluators import Evaluator, LocalEvaluator
from lm_gym.agents.algorithms.fitness import PopulationFitness, within_groups
from lm_gym.agents.algorithms.schedules import LearningRate
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.algorithms.trajectories import play_returns, positions_decided
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.agents.search.optimizers.optimizer import Optimizer, VectorOptimizer
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import count_groups
from lm_gym.agents.search.spaces.space import SearchSpace

PLAYED = "members that take several steps are played one after another, in this process"


class PopulationSearch(TextAlgorithm):
    """Base class of `BlackBox`, whose constructor makes the parts.

    Attributes:
        optimizer: proposes members, and learns from their fitness.
        space: the meaning of members in the policy.
        evaluator: where members are evaluated.
        max_rows, new_texts_every, texts_per_member, stop_fitness, patience: see BlackBox.
    """

    policy: Any
    optimizer: Optimizer
    space: SearchSpace
    evaluator: Evaluator
    max_rows: int
    new_texts_every: int
    texts_per_member: int | None
    stop_fitness: float | None
    patience: int | None
    _rate: LearningRate
    _infos: list[dict[str, Any]]
    _best_mean: float  # mean fitness of the best generation
    _best_generation: int
    _observed: tuple[Any, TensorObservation] | None  # the last observation, and its tensors

    # ------------------------------------------------------------------ a generation

    def _train_batch(self, texts: TextEnvironments | None, callback: BaseCallback) -> bool:
        if texts is None and not isinstance(self.evaluator, LocalEvaluator):
            raise WorkerError(f"{PLAYED}: leave {type(self.evaluator).__name__} out")
        callback.on_rollout_start()
        population = self.optimizer.ask()
        with self.generation():
            fitness = self._play(population, callback) if texts is None else self._judge(texts)
        if fitness is None:
            self._settle()
            return False
        cost = self.space.cost(population)
        if cost is not None:
            fitness = fitness - cost
        if not bool((fitness.isfinite()).any()):
            raise FloatingPointError(
                f"every member of generation {self.optimizer.generation} failed, none has a finite fitness: lower the "
                "optimizer's sigma or spread, or check the reward"
            )
        rate = self._rate(1.0 - self.done)
        self.update(fitness, rate)
        self.evaluator.updated(fitness, rate)
        self._record(fitness)
        if texts is not None:
            self._next_texts(texts)
        callback.update_locals({"infos": self._infos} if texts is not None else {})
        callback.on_rollout_end()
        if texts is not None and not callback.on_step():
            return False
        self._dump_logs_if_due()
        return not self._is_done(fitness)

    def _judge(self, texts: TextEnvironments) -> th.Tensor:
        """Return the members' fitness on the current texts, float64 [P]."""
        evaluation, order = self.evaluation(texts)
        judged, reading = self.evaluator.judge(self, evaluation), evaluation.reading
        self._infos = judged.infos(texts)
        self._update_info_buffer(self._infos, np.ones(len(self._infos), np.bool_))
        if texts.first.reward.name == "log_likelihood" and texts.first.settings.actions == "distribution":
            self.logger.record("search/perplexity", judged.fitness.nanmean().neg().exp().item())
        self.num_timesteps += reading.sharing * sum(reading.counts)
        self.forward_passes += reading.sharing * len(reading.obs["input_ids"])
        self.tokens += reading.sharing * int(reading.obs["attention_mask"].sum())
        fitness = within_groups(judged.fitness, reading.groups)
        return fitness if order is None else th.empty_like(fitness).scatter_(0, order, fitness)

    def evaluation(self, texts: TextEnvironments) -> tuple[PopulationFitness, th.Tensor | None]:
        """Return the evaluation of the optimizer's members on the current texts, and which member each is, int64 [P].

        The order is None if members are evaluated in the optimizer's order.
        """
        obs = self._observation()
        groups, order = self._count_groups(len(obs["input_ids"]), texts), None
        members = self.optimizer.ask()
        if groups > 1:
            members, order = members.by_unit()
        return PopulationFitness(self.space, members, obs, texts, self.max_rows, groups), order

    def _observation(self) -> TensorObservation:
        """Return the tensors of the current texts; the same object until the texts change, for spaces that reuse it."""
        if self._observed is None or self._observed[0] is not self._last_obs:
            self._observed = self._last_obs, self.policy.obs_to_tensor(self._last_obs)[0]
        return self._observed[1]

    @contextmanager
    def generation(self) -> Iterator[None]:
        """Compute without gradients and with the random numbers of the current generation."""
        with th.inference_mode(), self._keyed_randomness(self._n_updates):
            yield

    def update(self, fitness: th.Tensor, rate: float) -> None:
        """Update the search from the fitness of its members; a generation changes nothing else.

        Args:
            fitness: float64 [P]; see `Optimizer.tell`.
            rate: factor of the optimizer's learning rate.
        """
        self.optimizer.rate = rate
        with th.no_grad():
            self.optimizer.tell(fitness)
        self._settle()
        self._n_updates += 1

    def _settle(self) -> None:
        """Set the policy to the result of the search."""
        if isinstance(self.optimizer, VectorOptimizer):  # other optimizers move it in place
            with th.no_grad():
                self.space.write(self.optimizer.centre)

    def _next_texts(self, texts: TextEnvironments) -> None:
        """Move on to the next texts, if due."""
        assert self.env is not None
        if self.new_texts_every and self._n_updates % self.new_texts_every == 0:
            self._last_obs = self.env.reset()  # type: ignore[assignment]
        self._batch_draws = texts.batch_draws

    def _play(self, population: Population, callback: BaseCallback) -> th.Tensor | None:
        """Return the members' mean returns in any environment, or None if a callback asks to stop."""
        assert self.env is not None
        env, fitness = self.env, []

        def observe(infos: list[dict[str, Any]], running: NDArray[np.bool_]) -> bool:
            self.num_timesteps += positions_decided(infos, running)
            self.forward_passes += int(running.sum())
            self._update_info_buffer(infos)
            callback.update_locals({"infos": infos})
            return callback.on_step()

        for member in range(population.size):
            env.seed(self._key(self._n_updates))
            with self.space.materialised(population, member):
                returns = play_returns(self.policy, env, observe)
            if returns is None:
                return None
            fitness.append(float(returns.mean()))
        return th.tensor(fitness, dtype=th.float64)

    def _is_done(self, fitness: th.Tensor) -> bool:
        """Return whether the search stops early."""
        mean = fitness.nanmean().item()
        if mean > self._best_mean:
            self._best_mean, self._best_generation = mean, self._n_updates
        if self.stop_fitness is not None and float(np.nanmax(fitness.numpy(), initial=-np.inf)) >= self.stop_fitness:
            return True
        return self.patience is not None and self._n_updates - self._best_generation >= self.patience

    def _record(self, fitness: th.Tensor) -> None:
        told = fitness[fitness.isfinite()]
        if len(told):
            self.logger.record("search/fitness_best", told.max().item())
            self.logger.record("search/fitness_mean", told.mean().item())
            self.logger.record("search/fitness_spread", told.std(correction=0).item())
        if len(told) < len(fitness):
            self.logger.record("search/failed", len(fitness) - len(told))
        self.logger.record("search/generations", self.optimizer.generation)
        self.logger.record("search/evaluations", self.optimizer.evaluations)
        for name, value in {**self.optimizer.logs(), **self.space.summary()}.items():
            self.logger.record(f"search/{name}", value)
        for name, value in self.evaluator.logs().items():
            self.logger.record(name, value)

    def _count_groups(self, rows: int, texts: TextEnvironments | None) -> int:
        """Return the number of groups that members and texts form; if they cannot, the error says how to fix this."""
        k = self.texts_per_member
        if k is None:
            return 1
        if texts is None:
            raise ValueError(f"texts_per_member={k}: only lm_gym's environments have texts; leave it out")
        return count_groups(k, rows, self.optimizer.popsize, self.optimizer.ask().unit)

    def _texts(self, env: VecEnv) -> TextEnvironments | None:
        if not issubclass(self.policy_class, LMPolicy):
            return None
        texts = TextEnvironments(env)
        return texts if texts.first.at_once else None

    @property
    def timesteps_per_pass(self) -> int:
        """Number of timesteps in one pass over the training texts, where a position counts once per member."""
        return self._members_per_text * super().timesteps_per_pass

    @property
    def forward_passes_per_pass(self) -> int:
        """Number of forward passes in one pass over the training texts; a text counts once per member that reads it."""
        return self._members_per_text * super().forward_passes_per_pass

    @property
    def _members_per_text(self) -> int:
        """Number of members that read the same texts."""
        assert self.env is not None
        return self.optimizer.popsize // self._count_groups(self.env.num_envs, self._texts(self.env))

    def summary(self) -> dict[str, float]:
        """Return the numbers of the search space (see TextAlgorithm)."""
        return self.space.summary()
