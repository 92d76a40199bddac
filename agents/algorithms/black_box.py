"""BlackBox: gradient-free search with any ask/tell optimizer over any search space."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch as th
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.agents.algorithms.defaults import default_of
from lm_gym.agents.algorithms.evaluators import Evaluator, LocalEvaluator
from lm_gym.agents.algorithms.fitness import PopulationFitness, within_groups
from lm_gym.agents.algorithms.schedules import LearningRate, Schedule
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.algorithms.trajectories import play_returns, positions_decided
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.optimizers.optimizer import Optimizer, StructuredOptimizer, VectorOptimizer
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.precision import Precision
from lm_gym.agents.search.population.reading import count_groups
from lm_gym.agents.search.spaces import SEARCH_SPACES
from lm_gym.agents.search.spaces.space import SearchSpace
from lm_gym.bounds import Fraction, NonNegativeInt, PositiveInt, check_keywords
from lm_gym.registry import find_class, own_name

PLAYED = "members that take several steps are played one after another, in this process"
_OURS = {"initial", "domain", "centre", "blocks", "seed"}  # arguments of an optimizer that are not settings


@dataclass(frozen=True)
class Preset:
    """Default optimizer and search space of a subclass of BlackBox.

    Attributes:
        optimizer: a name in OPTIMIZERS.
        search_space: a name in SEARCH_SPACES.
        optimizer_kwargs: arguments of the optimizer; they override its own defaults, and `defaults.TABLE` overrides
            them.
    """

    optimizer: str
    search_space: str
    optimizer_kwargs: Mapping[str, Any] = field(default_factory=dict)


class BlackBox(TextAlgorithm):
    """Gradient-free search over a part of a policy, by any optimizer of `lm_gym.agents.search.optimizers`.

    A generation plays one batch of texts. All P members of the population decide the same texts by their most probable
    choices. The search space evaluates them together, and their rewards are their fitness. Between generations, the
    policy holds the optimizer's centre. One timestep is one position decided by one member.

    Fitness is the mean reward per position if the reward is separable (log-likelihood, accuracy), else the mean reward
    per text (F1, your own). With `actions="distribution"`, `log_likelihood` scores probabilities, so fitness is the
    negative cross-entropy; with `actions="token"`, it scores choices.

    If texts take several steps, and in any other Gymnasium environment with an `MlpPolicy`, members play one after
    another. Each plays one episode in every row of the environment, with the same seeds, and its fitness is the mean
    return.

    Args:
        policy, env, seed, device, sb3: see TextAlgorithm. The environment's rows are the texts of a generation.
        optimizer: a name in OPTIMIZERS, or `module:name` of your own; None for that of the preset.
        search_space: a name in SEARCH_SPACES, or `module:name` of your own; None for that of the preset.
        optimizer_kwargs: arguments of the optimizer, which override the defaults for the preset and the model
            (`lm_gym.agents.algorithms.defaults`). An optimizer other than the preset's has its own defaults.
        search_space_kwargs: arguments of the search space.
        new_texts_every: number of generations that play the same texts; 0 keeps the first texts.
        max_rows: maximum number of texts times members in one forward pass; bounds memory and does not affect results.
        texts_per_member: k, number of texts that a member reads. The N rows of the environment form N/k groups of
            texts, and the members form the same number of groups, so P k/N members share their texts. Fitness is
            centred within a group, and members that an optimizer compares directly (antithetic pairs) share their
            texts. None: all members read all texts.
        precision: precision of the members' forward passes: `"float32"`, or `"bfloat16"`, which is faster on processors
            that support it. The policy's weights and the optimizer keep their precision.
        schedule: schedule of the optimizer's learning rate: `"constant"`, or a decay to 0 at the end of training,
            `"linear"` or `"cosine"`.
        warmup: fraction of training during which the learning rate rises from 0, in [0, 1).
        stop_fitness: stop when the best member of a generation reaches this fitness.
        patience: stop after this number of generations without a better mean fitness of the population.

    Raises:
        ValueError: a name is unknown (the message suggests the nearest one), the optimizer or space does not accept an
            argument, the optimizer cannot search the space, `learning_rate` is given to the algorithm instead of the
            optimizer, a schedule is given to an optimizer without a learning rate, or members or texts do not divide
            into groups.
    """

    policy: Any
    optimizer: Optimizer
    space: SearchSpace
    env_arguments: ClassVar[dict[str, Any]] = {"unit": "sequence", "actions": "distribution"}
    default_reward: ClassVar[str | None] = "log_likelihood"  # a smooth reward: most small steps change no choice
    family: ClassVar[str] = "gradient-free"
    shared: ClassVar[Literal["population", "batch"] | None] = "population"
    preset: ClassVar[Preset] = Preset("es", "head")
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "LMPolicy": LMPolicy,
        "MlpPolicy": ActorCriticPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }

    def __init__(
        self,
        policy: str | type[BasePolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        *,
        optimizer: str | None = None,
        search_space: str | None = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        search_space_kwargs: dict[str, Any] | None = None,
        new_texts_every: NonNegativeInt = 1,
        max_rows: PositiveInt = 512,
        texts_per_member: PositiveInt | None = None,
        precision: Precision = "float32",
        schedule: Schedule = "constant",
        warmup: Fraction = 0.0,
        stop_fitness: float | None = None,
        patience: PositiveInt | None = None,
        seed: NonNegativeInt | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        **sb3: Any,
    ) -> None:
        if sb3.get("learning_rate"):
            raise ValueError(
                f"learning_rate={sb3['learning_rate']}: {type(self).__name__} has no learning rate itself; set the "
                "optimizer's, if it has one: optimizer_kwargs={'learning_rate': …}"
            )
        super().__init__(policy, env, seed=seed, device=device, support_multi_env=True, **sb3)
        self._any_optimizer = optimizer is None
        optimizer, search_space = optimizer or self.preset.optimizer, search_space or self.preset.search_space
        find_class(OPTIMIZERS, optimizer, Optimizer)
        find_class(SEARCH_SPACES, search_space, SearchSpace)
        self.optimizer_name, self.search_space_name = own_name(optimizer), own_name(search_space)  # no module is saved
        self.optimizer_kwargs = optimizer_kwargs or {}
        self.search_space_kwargs = search_space_kwargs or {}
        self.new_texts_every, self.max_rows = new_texts_every, max_rows
        self.texts_per_member, self.schedule, self.warmup = texts_per_member, schedule, warmup
        self.precision, self.stop_fitness, self.patience = precision, stop_fitness, patience
        self._best_mean, self._best_generation = -np.inf, 0
        self._observed: tuple[Any, TensorObservation] | None = None
        self.evaluator: Evaluator = LocalEvaluator()
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        self.policy.set_training_mode(False)
        space: Any = SEARCH_SPACES.find(self.search_space_name)
        check_keywords(space, self.search_space_kwargs, "search_space_kwargs", self.search_space_name, {"policy"})
        self.space = space(self.policy, **self.search_space_kwargs)  # without the parameters that policy_kwargs freezes
        self.space.precision = self.precision
        self.policy.requires_grad_(False)
        if "optimizer_kwargs" not in self.decided:  # a saved agent's are
            self._decide_optimizer()
        kind: Any = OPTIMIZERS.find(self.optimizer_name)
        given, seed = self.optimizer_kwargs, self.seed
        check_keywords(kind, given, "optimizer_kwargs", self.optimizer_name, _OURS)
        if issubclass(kind, StructuredOptimizer):
            self.optimizer = kind(self.space.tensors(), self.space.blocks, seed=seed, **given)
        else:
            self.optimizer = kind(self.space.initial(), self.space.domain, seed=seed, **given)
        self._rate = LearningRate(1.0, self.schedule, self.warmup)
        if not self.optimizer.has_rate and (self.schedule, self.warmup) != ("constant", 0.0):
            with_one = ", ".join(name for name, each in OPTIMIZERS.items() if each.has_rate)
            raise ValueError(
                f"schedule={self.schedule!r}, warmup={self.warmup}: {self.optimizer_name} has no learning rate; leave "
                f"them out, or use one of {with_one}"
            )
        if self.env is not None:
            self._count_groups(self.env.num_envs, self._texts(self.env))

    def _count_groups(self, rows: int, texts: TextEnvironments | None) -> int:
        """Return the number of groups that members and texts form; if they cannot, the error says how to fix this."""
        k = self.texts_per_member
        if k is None:
            return 1
        if texts is None:
            raise ValueError(f"texts_per_member={k}: only lm_gym's environments have texts; leave it out")
        return count_groups(k, rows, self.optimizer.popsize, self.optimizer.ask().unit)

    def _decide_optimizer(self) -> None:
        """Take missing settings from the table of defaults; an optimizer other than the preset's has its own."""
        if self.optimizer_name != own_name(self.preset.optimizer):
            return
        start = self.policy.start if isinstance(self.policy, LMPolicy) else None
        numbers = self.space.domain.dim
        found = default_of(type(self), start, self.search_space_name, numbers)
        usual = {**self.preset.optimizer_kwargs, **found.get("optimizer_kwargs", {})}
        self.optimizer_kwargs = {**usual, **self.optimizer_kwargs}
        self.decided["optimizer_kwargs"] = f"{start or 'no language model'}; {numbers:,} numbers are searched"
        if self._any_optimizer and "optimizer" in found:
            self.optimizer_name = found["optimizer"]
            self.decided["optimizer"] = self.decided["optimizer_kwargs"]

    def decided_settings(self) -> dict[str, Any]:
        """See TextAlgorithm."""
        values = {"optimizer": self.optimizer_name, "optimizer_kwargs": self.optimizer_kwargs}
        return {name: values[name] for name in self.decided}

    def explanations(self) -> dict[str, str]:
        """See TextAlgorithm; also the preset's optimizer and space, and the optimizer's own defaults."""
        kind = OPTIMIZERS.find(self.optimizer_name)
        parameters = inspect.signature(kind).parameters.values()
        rest = {one.name: one.default for one in parameters if one.default is not one.empty}
        rest = {name: value for name, value in rest.items() if name not in {*self.optimizer_kwargs, *_OURS}}
        said = {"optimizer": self.optimizer_name, "search_space": self.search_space_name, **super().explanations()}
        if rest:
            said["optimizer_kwargs"] = f"{said.get('optimizer_kwargs', 'as given')}; defaults: {rest}"
        return said

    def _check_env(self, env: VecEnv) -> None:
        if issubclass(self.policy_class, LMPolicy):
            if TextEnvironments(env).first.settings.unit != "sequence":
                raise ValueError(
                    f"{type(self).__name__} decides whole texts: make the environment with unit='sequence' and "
                    "actions='distribution' (or 'token')"
                )
            super()._check_env(env)

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

    def searched(self) -> str:
        """Describe in a few words what is searched."""
        domain = self.space.domain
        return f"{self.search_space_name}: {domain.dim:,} {domain.kind} numbers searched by {self.optimizer_name}"

    def summary(self) -> dict[str, float]:
        """Return the numbers of the search space (see TextAlgorithm)."""
        return self.space.summary()

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
                "optimizer's sigma or spread, or look at the reward"
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

    # ------------------------------------------------------------------ stopping, logs, saving

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

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "space", "optimizer"], []

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "space", "optimizer", "evaluator", "_infos", "_rate", "_observed"]
