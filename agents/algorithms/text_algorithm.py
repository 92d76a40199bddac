"""The base class of all agents: environments, policy, the training loop, budgets, logs, saving."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Literal, Self, cast

import gymnasium
import numpy as np
import torch as th
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.agents.algorithms.keywords import check_keyword_names
from lm_gym.agents.algorithms.saving import File, SavedAlgorithm
from lm_gym.agents.algorithms.text_environments import TextEnvironments, check_labels
from lm_gym.agents.algorithms.timestep_bar import TimestepBar
from lm_gym.agents.model.devices import check_device
from lm_gym.agents.model.finite import require_finite
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.bounds import Bounded, NonNegativeFloat, NonNegativeInt, PositiveInt, check_keywords, check_value
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from lm_gym.envs import find_task
from lm_gym.tasks import Task


class StopTraining(Exception):  # noqa: N818
    """Raised by a callback's `on_rollout_start` to end training before the next update, as if the budget were spent."""


_SPACES = {"observation_space", "action_space", "lr_schedule"}  # arguments of a policy that are not settings


class TextAlgorithm(Bounded, SavedAlgorithm):
    """Base class of all agents: environments, policy, the training loop, budgets, logs, saving.

    One timestep is one decided position.

    Args:
        policy: `"LMPolicy"`, or a subclass of it.
        env: an lm_gym environment: a native vector environment (`gymnasium.make_vec`), a single environment,
            a VecEnv, or an id (which makes 32 rows of whole texts).
        learning_rate: learning rate or schedule, as in Stable-Baselines3.
        seed: seed of all random numbers; drawn if None. Randomness is keyed by (seed, number of the update), so a
            resumed run needs no generator state, and global generators are not touched.
        sb3: further arguments of Stable-Baselines3: policy_kwargs, tensorboard_log, verbose, stats_window_size.

    Raises:
        TypeError: an argument is unknown; the message suggests the nearest name.

    Attributes:
        env_arguments: required arguments of its training environments.
        default_reward: reward of an environment if none is given; None for the task's default.
        decided: reasons for the settings that the table of defaults decided, by name of the setting.
        shared: the work that Ray workers can share: members of a `"population"`, or texts of a `"batch"`; None if they
            cannot share any.
        plays_apart: whether Ray workers can play its rollouts, apart from the process that learns.
        family: group of the algorithm in reports: `"policy gradient"`, `"supervised"` or `"gradient-free"`.
        learns_after_many_steps: whether callbacks see several steps of the environment between two updates.
        budget_spent: returns the spent fraction of a budget in other units than timesteps, 0 to 1; schedules and `done`
            then follow it. None if the budget is in timesteps.
    """

    env_arguments: ClassVar[dict[str, Any]] = {"unit": "sequence"}
    default_reward: ClassVar[str | None] = None
    family: ClassVar[str] = "policy gradient"
    learns_after_many_steps: ClassVar[bool] = False
    shared: ClassVar[Literal["population", "batch"] | None] = None
    plays_apart: ClassVar[bool] = False
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"LMPolicy": LMPolicy}
    library_types: ClassVar[Mapping[str, Any]] = {"stats_window_size": PositiveInt}
    policy: LMPolicy
    budget_spent: Callable[[], float] | None = None

    def __init__(
        self,
        policy: str | type[BasePolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        learning_rate: NonNegativeFloat | Literal["auto"] | Callable[[float], float] = 0.0,
        *,
        seed: NonNegativeInt | None = None,
        device: th.device | str = "auto",
        **sb3: Any,
    ) -> None:
        check_keyword_names(type(self), sb3)
        check_device(device)
        if isinstance(env, str) and "lm_gym/" in env:
            rows = 32 * self.env_arguments.get("group_size", 1)
            paid = self.reward_for(find_task(env))
            env = gymnasium.make_vec(env, num_envs=rows, autoreset_mode="SameStep", reward=paid, **self.env_arguments)
        self.decided: dict[str, str] = {}
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]
            cast("float | Callable[[float], float]", learning_rate),  # `"auto"` until `_setup_model`
            seed=int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed,
            device=device,
            **sb3,
        )
        self.forward_passes = self.backward_passes = self.tokens = 0
        self._batch_draws = 0
        self._log_interval: int | None = None

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        if isinstance(env, VectorEnv):
            env = VecEnvAdapter(env)
        return BaseAlgorithm._wrap_env(env, verbose, monitor_wrapper)

    def _setup_model(self) -> None:
        if self.env is not None:
            self._check_env(self.env)
            if issubclass(self.policy_class, LMPolicy):
                task = TextEnvironments(self.env).first.task
                check_labels(self.policy_kwargs.get("labels"), self.policy_kwargs.get("facts"), task)
                self.policy_kwargs = {**task.policy_arguments, **self.policy_kwargs}
        with self._keyed_randomness(-1):
            self._setup_policy()
        if self.env is not None and isinstance(self.policy, LMPolicy):
            self.policy.check_tokenizer(TextEnvironments(self.env).first.task.tokenizer)

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Continue in another environment with the same spaces and labels.

        Raises:
            ValueError: the environment has other labels.
        """
        super().set_env(env, force_reset)
        if self.env is not None and isinstance(self.policy, LMPolicy):
            task = TextEnvironments(self.env).first.task
            check_labels(self.policy_kwargs.get("labels"), self.policy_kwargs.get("facts"), task)

    def _setup_policy(self) -> None:
        """Build the policy; its random numbers are keyed."""
        self._setup_lr_schedule()
        if getattr(self, "observation_space", None) is None:
            raise ValueError("env=None: give an environment, whose spaces the policy needs")
        if issubclass(self.policy_class, LMPolicy):
            check_keywords(self.policy_class, self.policy_kwargs, "policy_kwargs", self.policy_class.__name__, _SPACES)
        policy = self.policy_class(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs)
        self.policy = policy.to(self.device)  # type: ignore[assignment]

    def _check_env(self, env: VecEnv) -> None:
        """Raise ValueError or TypeError if the algorithm cannot learn from the environment."""
        TextEnvironments(env)

    def _texts(self, env: VecEnv) -> TextEnvironments | None:
        """Return the text environments behind `env`, or None if texts are not decided as a whole."""
        return TextEnvironments(env)

    # ------------------------------------------------------------------ for subclasses

    @abstractmethod
    def _train_batch(self, texts: TextEnvironments | None, callback: BaseCallback) -> bool:
        """Play a batch, learn from it and move on to the next texts; return False if a callback asks to stop."""

    @classmethod
    def reward_for(cls, task: type[Task]) -> str:
        """Return the name of the reward that training environments of a task have by default."""
        return cls.default_reward or task.default_reward

    @property
    def decides_at_once(self) -> bool:
        """Whether whole texts are decided in one step."""
        return self.env is not None and self._texts(self.env) is not None

    @property
    def updates(self) -> int:
        """Number of updates so far."""
        return self._n_updates

    # ------------------------------------------------------------------ training

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 10,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train until `total_timesteps` positions are decided; the last batch is completed.

        Args:
            total_timesteps: number of positions to decide, 0 or more; with K samples a position counts K times.
            callback: Stable-Baselines3 callbacks; `on_step` is called after each update and stops training by False.
                `on_rollout_start` stops it between two updates by raising `StopTraining`.
            log_interval: number of updates between two dumps of the logger; None to disable logs.
            tb_log_name: name of the TensorBoard run; by default the algorithm's name.
            reset_num_timesteps: False continues where the last `learn` or the loaded agent stopped, with the same texts
                and numbers as an uninterrupted run.
            progress_bar: whether to show a progress bar.

        Raises:
            FloatingPointError: a loss, a gradient or a weight is NaN or infinite, or all members of a search failed.
            ValueError: `total_timesteps` is negative or not finite, or the agent has no environment.
        """
        check_value("total_timesteps", total_timesteps, NonNegativeFloat)
        if self.env is None:
            raise ValueError("this agent has no environment to learn from: load(path, env=…) or set_env(env) first")
        if reset_num_timesteps or self._last_obs is None:
            self.env.seed(self.seed)
            self.env.set_options({"draws": 0 if reset_num_timesteps else self._batch_draws})
        if reset_num_timesteps:
            self._n_updates = self.forward_passes = self.backward_passes = self.tokens = 0
        self._log_interval = log_interval
        total, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name or type(self).__name__, progress_bar
        )
        texts = self._texts(self.env)
        callback.on_training_start(locals(), globals())
        with suppress(StopTraining):
            while self.num_timesteps < total and self._train_batch(texts, callback):
                pass
        require_finite(self.policy, f"after update {self._n_updates}")
        callback.on_training_end()
        return self

    def read(self, draws: int) -> None:
        """Read the texts that the sampler draws after `draws` (`TextEnvironments.batch_draws`)."""
        assert self.env is not None
        self.env.seed(self.seed)
        self.env.set_options({"draws": draws})
        self._last_obs = self.env.reset()  # type: ignore[assignment]

    @contextmanager
    def _keyed_randomness(self, number: int, *purpose: int) -> Iterator[None]:
        """Seed torch's global generators by (seed, number) and perhaps a purpose, and restore them afterwards."""
        devices = [self.device] if self.device.type == "cuda" else []
        with th.random.fork_rng(devices=devices):
            th.manual_seed(self._key(number, *purpose))
            yield

    def _key(self, number: int, *purpose: int) -> int:
        """Return a 31-bit seed for update `number` of this run; -1 is for building the policy."""
        return int(np.random.SeedSequence([self.seed or 0, number + 1, *purpose]).generate_state(1)[0] >> 1)

    @property
    def forward_passes_per_pass(self) -> int:
        """Number of forward passes in one pass over the training texts."""
        assert self.env is not None
        return TextEnvironments(self.env).first.num_texts

    @property
    def backward_passes_per_pass(self) -> int:
        """Number of backward passes in one pass over the training texts."""
        return 0

    @property
    def done(self) -> float:
        """Fraction of the budget that is spent, 0 to 1."""
        if self.budget_spent is not None:
            return min(1.0, self.budget_spent())
        return min(1.0, self.num_timesteps / self._total_timesteps)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        if self.budget_spent is None:
            super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        else:
            self._current_progress_remaining = 1.0 - self.done

    def decided_settings(self) -> dict[str, Any]:
        """Settings decided by the table of defaults, by name."""
        return {name: getattr(self, name) for name in self.decided}

    def explanations(self) -> dict[str, str]:
        """Decisions for the settings that were left to the algorithm, with reasons, by name."""
        return {name: f"{value}: {self.decided[name]}" for name, value in self.decided_settings().items()}

    def searched(self) -> str:
        """Describe in a few words what is trained."""
        return f"{sum(p.numel() for p in self.policy.parameters() if p.requires_grad):,} trainable parameters"

    def summary(self) -> dict[str, float]:
        """Return numbers by name that a report shows next to the metrics."""
        return {}

    # ------------------------------------------------------------------ logs, budgets, saving

    @property
    def timesteps_per_pass(self) -> int:
        """Number of timesteps in one pass over the training texts."""
        assert self.env is not None
        return TextEnvironments(self.env).first.positions_per_pass

    @property
    def logs_now(self) -> bool:
        """Whether the logs of the current update are dumped. Expensive statistics are computed only then."""
        return self._log_interval is not None and (self._n_updates + 1) % self._log_interval == 0

    def _dump_logs_if_due(self) -> None:
        if self._log_interval is not None and self._n_updates % self._log_interval == 0:
            self.dump_logs()

    def dump_logs(self) -> None:
        """Write everything recorded since the last dump, under Stable-Baselines3's names."""
        elapsed = max((time.time_ns() - self.start_time) / 1e9, 1e-9)
        if self.ep_info_buffer:
            self.logger.record("rollout/ep_rew_mean", safe_mean([info["r"] for info in self.ep_info_buffer]))
            self.logger.record("rollout/ep_len_mean", safe_mean([info["l"] for info in self.ep_info_buffer]))
        self.logger.record("time/fps", int((self.num_timesteps - self._num_timesteps_at_start) / elapsed))
        self.logger.record("time/time_elapsed", int(elapsed), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("budget/forward_passes", self.forward_passes)
        self.logger.record("budget/backward_passes", self.backward_passes)
        self.logger.record("budget/tokens", self.tokens)
        self.logger.dump(self.num_timesteps)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        made = super()._init_callback(callback, progress_bar=False)
        if progress_bar:
            made = CallbackList([made, TimestepBar()])
            made.init_callback(self)
        return made

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def _excluded_save_params(self) -> list[str]:
        made_again = ("_last_obs", "_last_original_obs", "_last_episode_starts", "budget_spent", "lr_schedule")
        return [*super()._excluded_save_params(), *made_again]

    def save(self, path: File, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None) -> None:
        """Save weights, optimizer, counters and the sampler's position; loading needs no other checkpoint."""
        given = self.policy_kwargs
        if isinstance(self.policy, LMPolicy):
            self.policy_kwargs = {**given, **self.policy.config_kwargs()}
        try:
            super().save(path, exclude, include)
        finally:
            self.policy_kwargs = given
