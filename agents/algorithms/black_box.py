"""BlackBox: gradient-free search with any ask/tell optimizer over any search space."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch as th
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.agents.algorithms.defaults import default_of, is_auto
from lm_gym.agents.algorithms.evaluators import Evaluator, LocalEvaluator
from lm_gym.agents.algorithms.population_search import PopulationSearch
from lm_gym.agents.algorithms.schedules import LearningRate, Schedule
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.optimizers.optimizer import Optimizer, StructuredOptimizer
from lm_gym.agents.search.population.precision import Precision
from lm_gym.agents.search.spaces import SEARCH_SPACES
from lm_gym.agents.search.spaces.space import SearchSpace
from lm_gym.bounds import Fraction, NonNegativeInt, PositiveInt, check_keywords
from lm_gym.registry import find_class, own_name

_ROWS = 512  # texts of a forward pass on devices other than a CPU
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


class BlackBox(PopulationSearch):
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
        optimizer: a name in OPTIMIZERS, or `module:name` of your own; None for the preset's optimizer.
        search_space: a name in SEARCH_SPACES, or `module:name` of your own; None for the preset's search space.
        optimizer_kwargs: arguments of the optimizer, which override the defaults for the preset and the model
            (`lm_gym.agents.algorithms.defaults`). An optimizer other than the preset's has its own defaults.
        search_space_kwargs: arguments of the search space.
        new_texts_every: number of generations that play the same texts; 0 keeps the first texts.
        max_rows: maximum number of texts times members in one forward pass. It bounds memory and changes results only
            by rounding. `"auto"` takes the fastest number for the search space on a CPU (`SearchSpace.rows_on_cpu`),
            and 512 on other devices.
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
        max_rows: PositiveInt | Literal["auto"] = "auto",
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
        self.new_texts_every = new_texts_every
        self.max_rows = max_rows  # type: ignore[assignment]  # "auto" until the search space is known
        self.texts_per_member, self.schedule, self.warmup = texts_per_member, schedule, warmup
        self.precision, self.stop_fitness, self.patience = precision, stop_fitness, patience
        self._best_mean, self._best_generation = -np.inf, 0
        self._observed = None
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
        if is_auto(self.max_rows):
            self.max_rows = self.space.rows_on_cpu if self.device.type == "cpu" else _ROWS
            self.decided["max_rows"] = f"search space {self.search_space_name} on {self.device.type}"
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
        values: dict[str, Any] = {"optimizer": self.optimizer_name, "optimizer_kwargs": self.optimizer_kwargs}
        values["max_rows"] = self.max_rows
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

    def searched(self) -> str:
        """Describe in a few words what is searched."""
        domain = self.space.domain
        return f"{self.search_space_name}: {domain.dim:,} {domain.kind} numbers searched by {self.optimizer_name}"

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "space", "optimizer"], []

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "space", "optimizer", "evaluator", "_infos", "_rate", "_observed"]
