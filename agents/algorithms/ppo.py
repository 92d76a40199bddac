"""PPO on texts: Stable-Baselines3's PPO, unchanged, on texts that are encoded once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import stable_baselines3
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from lm_gym.agents.algorithms.defaults import default_of, is_auto
from lm_gym.agents.algorithms.exact_critic import ExactCritic
from lm_gym.agents.algorithms.group_advantages import GroupAdvantage
from lm_gym.agents.algorithms.rollout_plan import MOST_STEPS, RolloutArguments, batch_size_for, plan_rollouts, steps_for
from lm_gym.agents.algorithms.saving import File
from lm_gym.agents.algorithms.schedules import ScheduledRate
from lm_gym.agents.algorithms.text_buffer import TextRolloutBuffer
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.finite import require_finite
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import Spent
from lm_gym.bounds import NonNegativeFloat, PositiveFloat, PositiveInt, UnitInterval
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from lm_gym.envs import TextVectorEnv


class PPO(ScheduledRate, stable_baselines3.PPO):  # type: ignore[misc]  # whose policy is any
    """Proximal policy optimisation (Schulman et al., arXiv 1707.06347) over the positions of texts.

    `collect_rollouts` and `train` are those of Stable-Baselines3. Two classes adapt them to texts. An `LMPolicy`
    encodes a text once when it begins, and a `TextRolloutBuffer` forms minibatches of whole texts and computes the
    advantages. As in all agents of lm-gym, the randomness of a rollout is keyed by the seed and the number of the
    rollout, budgets are counted, and a saved agent continues exactly where it stopped, even inside a text.

    The value `"auto"` chooses the estimator that suits the reward:

    * γ is 0 if the reward of a position depends only on its own choice and decisions do not change the text, else 1;
    * with `group_size` > 1, the advantage is `maximum_likelihood` for separable rewards that are never negative or are
      logarithms of likelihoods (maximised as R = exp(r)), else `leave_one_out`;
    * if no rows read the same text (`group_size=1`, or decisions change the text), it is `maximum_likelihood` if the
      reward gives the reward of every choice, else `gae`;
    * if no rows read the same text, or rows draw different choices of many, the mean that `maximum_likelihood` divides
      by is exact if the reward gives the reward of every choice (see `ExactCritic`); else it is the mean of the rows;
    * `vf_coef` is 0.5 with `gae`, and 0 if no critic is used.

    With textbook advantages (`gae`), exact-match NER collapses to the tag O for every word; see docs/algorithms/ppo.md.

    Args:
        policy: `"LMPolicy"`, or a subclass of it.
        env: an lm_gym environment with `unit="token"`, preferably a vector environment with groups
            (`gymnasium.make_vec(…, num_envs=512, group_size=16, autoreset_mode="SameStep")`).
        learning_rate: AdamW's learning rate (see ScheduledRate, also for schedule, warmup and end_factor).
        n_steps: positions that each row decides in a rollout. A text that continues in the next rollout is encoded
            twice. `"auto"`: about four texts (`steps_for`).
        batch_size: approximate number of steps in a minibatch, which consists of whole texts. `"auto"`: 64 times
            `n_steps`, or 4,096; with groups of more than 16 rows, at least 256 times `group_size`, so that a minibatch
            has 256 positions.
        n_epochs: number of times that the agent learns from the texts of a rollout; each time, they are encoded again.
            Playing a text costs a third of learning from it, so playing it again is better than learning from it twice.
        gamma: γ in [0, 1], or `"auto"`.
        advantage: `gae | leave_one_out | group_normalized | maximum_likelihood | auto` (see TextRolloutBuffer).
        behaviour: `policy | without_replacement | auto`: whether the rows of a group draw independently or draw
            different choices. `auto` is the latter if there are more than 16 choices, the reward is separable, and the
            model's vocabulary head is trained.
        vf_coef: weight of the critic's loss, or `"auto"`.
        max_grad_norm: maximum norm of the gradient; a larger gradient is scaled down to it.
        sb3: clip_range, ent_coef, target_kl, gae_lambda, normalize_advantage (off by default), and the arguments of
            every algorithm: seed, device, policy_kwargs, ….

    Raises:
        ValueError: if the environment is unsuitable or a combination makes no sense. The message says what to do.
    """

    env_arguments: ClassVar[dict[str, Any]] = {"unit": "token", "group_size": 16}
    learns_after_many_steps: ClassVar[bool] = True
    library_types: ClassVar[Mapping[str, Any]] = {
        "clip_range": PositiveFloat | Callable,
        "clip_range_vf": PositiveFloat | Callable | None,
        "ent_coef": NonNegativeFloat,
        "gae_lambda": UnitInterval,
        "target_kl": PositiveFloat | None,
    }

    def __init__(
        self,
        policy: str | type[LMPolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        learning_rate: NonNegativeFloat | Literal["auto"] | Callable[[float], float] = "auto",
        *,
        n_steps: PositiveInt | Literal["auto"] = "auto",
        batch_size: PositiveInt | Literal["auto"] = "auto",
        n_epochs: PositiveInt = 1,
        gamma: UnitInterval | Literal["auto"] = "auto",
        advantage: GroupAdvantage | Literal["auto"] = "auto",
        behaviour: Literal["policy", "without_replacement", "auto"] = "auto",
        vf_coef: NonNegativeFloat | Literal["auto"] = "auto",
        max_grad_norm: PositiveFloat = 1.0,
        normalize_advantage: bool = False,
        _init_setup_model: bool = True,
        **sb3: Any,
    ) -> None:
        self.advantage, self.behaviour = advantage, behaviour
        self._playing: dict[str, Any] | None = None
        with warnings.catch_warnings():  # minibatches of whole texts have only approximately this size
            warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
            super().__init__(
                policy,
                env,
                learning_rate,
                n_steps=MOST_STEPS if n_steps == "auto" else n_steps,
                batch_size=batch_size_for(MOST_STEPS) if batch_size == "auto" else batch_size,
                n_epochs=n_epochs,
                gamma=gamma,
                vf_coef=vf_coef,
                max_grad_norm=max_grad_norm,
                normalize_advantage=normalize_advantage,
                rollout_buffer_class=TextRolloutBuffer,
                _init_setup_model=False,
                **sb3,
            )
        self.n_steps, self.batch_size = n_steps, batch_size  # type: ignore[assignment]  # decided when the texts are known
        if _init_setup_model:
            self._setup_model()

    def _setup_policy(self) -> None:
        """Build the rollout buffer and the policy."""
        if self.env is not None:
            first = TextEnvironments(self.env).first
            self._size(first)
            plan = plan_rollouts(RolloutArguments(self.gamma, self.advantage, self.behaviour, self.vf_coef), first)
            self.gamma, self.vf_coef = plan.gamma, plan.vf_coef
            self.rollout_buffer_class, self.rollout_buffer_kwargs = plan.buffer_class, plan.buffer_kwargs
        stable_baselines3.PPO._setup_model(self)
        start = self.policy.start if isinstance(self.policy, LMPolicy) else None
        if self.behaviour == "auto" and default_of(type(self), start).get("behaviour") == "policy":
            self._draw_independently()

    def _draw_independently(self) -> None:
        """Let the rows of a group draw from the policy, although the buffer was made for different choices."""
        if isinstance(self.rollout_buffer, TextRolloutBuffer) and self.rollout_buffer.distinct:
            self.rollout_buffer.distinct = self.rollout_buffer.exact = False
            self.rollout_buffer_kwargs |= {"distinct": False, "exact": False}

    def set_random_seed(self, seed: int | None = None) -> None:
        """Set the seed, which keys all randomness. The global generators are not seeded."""
        if seed is not None:
            self.seed = seed

    def _check_env(self, env: VecEnv) -> None:
        several = isinstance(env.action_space, spaces.MultiDiscrete) and not TextEnvironments(env).first.at_once
        if not several and not isinstance(env.action_space, spaces.Discrete):
            raise ValueError(
                f"PPO decides position by position: make the environment with unit='token' and actions='token' (its "
                f"action space is {type(env.action_space).__name__}, not Discrete)"
            )
        TextEnvironments(env)

    def _size(self, first: TextVectorEnv) -> None:
        """Decide the sizes of rollouts and minibatches that are `"auto"`."""
        length = first.positions_per_pass / first.num_texts
        why = f"{length:.1f} positions in a text"
        if is_auto(self.n_steps):
            self.n_steps = steps_for(length)
            self.decided["n_steps"] = why
        if is_auto(self.batch_size):
            steps = self.n_steps if "n_steps" in self.decided else MOST_STEPS
            self.batch_size = batch_size_for(steps, first.group_size)
            self.decided["batch_size"] = why

    # ------------------------------------------------------------------ the loop

    def _train_batch(self, texts: TextEnvironments | None, callback: BaseCallback) -> bool:
        """Collect a rollout and learn from it. Return False if a callback stops training."""
        assert self.env is not None
        assert texts is not None
        steps = self.n_steps * self.n_envs
        rollout = self.num_timesteps // steps
        before = replace(self.policy.encoder.spent)
        with self._keyed_randomness(2 * rollout):
            if not self.collect_rollouts(self.env, callback, self.rollout_buffer, self.n_steps):
                self._count(before)
                return False
        self._batch_draws = texts.batch_draws
        self._update_current_progress_remaining(self.num_timesteps - steps // 2, self._total_timesteps)
        with self._keyed_randomness(2 * rollout + 1):
            self.train()
        require_finite(self.policy, f"after rollout {rollout}")
        self._count(before)
        loss = self.logger.name_to_value["train/loss"]
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} after rollout {rollout}: lower learning_rate or max_grad_norm"
            )
        if self._log_interval is not None and (rollout + 1) % self._log_interval == 0:
            self.dump_logs()
        return True

    def _count(self, before: Spent) -> None:
        """Add the work of the encoder since `before` to the budgets."""
        spent = self.policy.encoder.spent
        self.forward_passes += spent.texts - before.texts
        self.tokens += spent.tokens - before.tokens
        self.backward_passes += spent.backward - before.backward

    @property
    def timesteps_per_pass(self) -> int:
        """Timesteps of one pass over the training texts, where each position counts once per row of its group."""
        assert self.env is not None
        return TextEnvironments(self.env).first.group_size * super().timesteps_per_pass

    @property
    def forward_passes_per_pass(self) -> int:
        """Forward passes of one pass: each text is encoded once for playing and once per epoch."""
        return (1 + self.n_epochs) * self._encodings_per_pass

    @property
    def backward_passes_per_pass(self) -> int:
        """Backward passes of one pass, one per text and epoch."""
        return self.n_epochs * self._encodings_per_pass

    @property
    def _encodings_per_pass(self) -> int:
        """Encoded texts of one pass. Texts in two rollouts (about one per group and rollout) count twice."""
        assert self.env is not None
        first = TextEnvironments(self.env).first
        return first.num_texts + round(first.positions_per_pass / self.n_steps)

    # ------------------------------------------------------------------ continuing inside texts

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        resumed = self._last_obs is None and not reset_num_timesteps
        made = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        assert self.env is not None
        grouped = self.rollout_buffer if isinstance(self.rollout_buffer, TextRolloutBuffer) else None
        self.policy.distinct = grouped.group_size if grouped is not None and grouped.distinct else 0
        exact = grouped is not None and grouped.exact
        self.policy.critic = ExactCritic(TextEnvironments(self.env)) if exact else None
        adapter = self._adapter
        if resumed and adapter is not None and self._playing is not None:
            self._last_obs = adapter.set_state(self._playing)  # type: ignore[assignment]
            self._last_episode_starts = adapter.vector.episodes.decided == 0
        return made

    @property
    def _adapter(self) -> VecEnvAdapter | None:
        """Find the vector environment behind the VecEnv, if any. Only its state can be restored."""
        bare = None if self.env is None else self.env.unwrapped
        return bare if isinstance(bare, VecEnvAdapter) else None

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "rollout_buffer_class"]

    def save(self, path: File, exclude: Iterable[str] | None = None, include: Iterable[str] | None = None) -> None:
        """Save weights, optimizer, counters and the state of the environment."""
        if self._adapter is not None and self._last_obs is not None:
            self._playing = self._adapter.get_state()
        super().save(path, exclude, include)
