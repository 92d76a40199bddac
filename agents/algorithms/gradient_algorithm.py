"""The update shared by the gradient-based agents: a batch of texts, one differentiable forward, one AdamW step."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
import torch as th
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.agents.algorithms.batch_sharing import BatchSharing
from lm_gym.agents.algorithms.defaults import is_auto
from lm_gym.agents.algorithms.schedules import ScheduledRate
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.devices import has_fast_bfloat16, read_numbers
from lm_gym.agents.model.finite import require_finite
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.bounds import NonNegativeFloat, PositiveFloat

_WIDE = 256  # hidden size from which autocast saves more than its conversions cost (benchmarks/autocast.py)


@dataclass(frozen=True)
class Update:
    """An update before its backward pass.

    Attributes:
        loss: the loss to minimise, a scalar.
        actions: int64 [N, T], the actions for the environment.
        timesteps: positions decided, counted over all samples.
        logs: numbers for the logger, by name; those on the device are read together after the backward pass.
    """

    loss: th.Tensor
    actions: NDArray[np.int64]
    timesteps: int
    logs: dict[str, float | th.Tensor]


class GradientAlgorithm(ScheduledRate):
    """Train an LMPolicy by gradients, on texts whose positions are all decided in one step (`unit="sequence"`).

    One update plays one batch, with as many texts as the environment has rows. `sharing` divides the work of an update
    among processes.

    Args:
        policy, env, learning_rate, scheduled_rate: see ScheduledRate, as for schedule, warmup, end_factor.
        max_grad_norm: maximum norm of the gradient; a larger gradient is scaled down to it.
        autocast: whether to run the forward pass in bfloat16; `"auto"` does so if the processor is fast at it, the
            weights are in float32, and the model has a hidden size of 256 or more. Smaller models become slower.
    """

    shared: ClassVar[Literal["population", "batch"] | None] = "batch"

    def __init__(
        self,
        policy: str | type[LMPolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        learning_rate: NonNegativeFloat | Literal["auto"] | Callable[[float], float] = "auto",
        *,
        max_grad_norm: PositiveFloat = 1.0,
        autocast: bool | Literal["auto"] = "auto",
        _init_setup_model: bool = True,
        **scheduled_rate: Any,
    ) -> None:
        super().__init__(policy, env, learning_rate, support_multi_env=True, **scheduled_rate)
        self.max_grad_norm, self.autocast = max_grad_norm, autocast
        self.sharing = BatchSharing()
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        if not is_auto(self.autocast):
            return
        policy: Any = self.policy
        if not isinstance(policy, LMPolicy):  # of another environment
            self.autocast = False
            return
        fast, dtype, width = has_fast_bfloat16(self.device), policy.network.dtype, policy.start.hidden_size
        self.autocast = fast and dtype == th.float32 and width >= _WIDE
        processor = f"{self.device.type} is {'fast' if fast else 'slow'} in bfloat16"
        self.decided["autocast"] = f"{processor}; weights in {dtype}; hidden size {width}"

    def _check_env(self, env: VecEnv) -> None:
        if not isinstance(env.action_space, gymnasium.spaces.MultiDiscrete):
            raise ValueError(
                f"{type(self).__name__} decides whole texts: make the environment with unit='sequence' and "
                f"actions='token' (its action space is {type(env.action_space).__name__}, not MultiDiscrete)"
            )
        if not TextEnvironments(env).first.at_once:
            raise ValueError(
                f"{type(self).__name__} decides whole texts in one step, but these take several: make the environment "
                "so that one step decides all (per_step=None)"
            )

    @property
    def backward_passes_per_pass(self) -> int:
        """Backward passes of one pass over the training texts, one per text."""
        assert self.env is not None
        return TextEnvironments(self.env).first.num_texts

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "sharing"]

    # ------------------------------------------------------------------ for subclasses

    @abstractmethod
    def _update(self, obs: TensorObservation, texts: TextEnvironments) -> Update:
        """Play the current texts with one differentiable forward."""

    def _train_batch(self, texts: TextEnvironments | None, callback: BaseCallback) -> bool:
        """Play a batch, update, and step the environment. Return False if a callback stops training."""
        assert self.env is not None
        assert texts is not None
        callback.on_rollout_start()
        assert isinstance(self._last_obs, dict)
        tokens = int(self._last_obs["attention_mask"].sum())
        self.sharing.begin(self, texts.batch_draws)
        update = self.learn_from_batch(texts)
        for name, value in self.sharing.logs().items():
            self.logger.record(name, value)
        self._last_obs, rewards, dones, infos = self.env.step(update.actions)  # type: ignore[assignment]
        self._batch_draws = texts.batch_draws
        self.num_timesteps += update.timesteps
        count = len(update.actions)
        self.forward_passes += count
        self.backward_passes += count
        self.tokens += tokens
        self._update_info_buffer(infos, dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        if not callback.on_step():
            return False
        self._dump_logs_if_due()
        return True

    def learn_from_batch(self, texts: TextEnvironments) -> Update:
        """Update the policy from the current texts, without moving on to the next ones."""
        self.policy.set_training_mode(True)
        tensors, _ = self.policy.obs_to_tensor(self._last_obs)
        assert isinstance(tensors, dict)
        with self._keyed_randomness(self._n_updates):
            with self._precision():
                update = self._update(tensors, texts)
            self._descend(update.loss, self.num_timesteps + update.timesteps // 2, update.logs)
        return update

    def _precision(self, *, full: bool = False) -> th.autocast:
        """Return a context in which forward passes run in bfloat16 if `autocast` says so, or not at all if `full`."""
        return th.autocast(self.device.type, th.bfloat16, enabled=bool(self.autocast) and not full)

    def follow(self, sharing: BatchSharing) -> None:
        """Prepare to make the updates of an agent in another process, which decides the progress and logs."""
        self.sharing, self._log_interval, self.budget_spent = sharing, None, lambda: 0.0
        self.set_logger(Logger(folder=None, output_formats=[]))

    def _descend(self, loss: th.Tensor, timesteps: int, logs: Mapping[str, float | th.Tensor]) -> None:
        """Take one optimizer step at the learning rate of `timesteps`, and record `logs`."""
        self._update_current_progress_remaining(timesteps, self._total_timesteps)
        self._current_progress_remaining = self.sharing.agree(self._current_progress_remaining)
        self._update_learning_rate(self.policy.optimizer)
        self.policy.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.policy.optimizer.param_groups for p in group["params"]]
        self.sharing.average(parameters)
        norm = th.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        read = read_numbers({"train/loss": loss, "train/grad_norm": norm, **logs})
        if not math.isfinite(read["train/loss"]):
            raise FloatingPointError(
                f"the loss is {read['train/loss']} at update {self._n_updates}: lower learning_rate or max_grad_norm"
            )
        if not math.isfinite(read["train/grad_norm"]):
            raise FloatingPointError(
                f"the gradient is {read['train/grad_norm']} at update {self._n_updates}: lower learning_rate"
            )
        self.policy.optimizer.step()
        require_finite(self.policy, f"after update {self._n_updates}")
        self._n_updates += 1
        for name, value in read.items():
            self.logger.record_mean(name, value)
