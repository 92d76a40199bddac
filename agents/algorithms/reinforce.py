"""REINFORCE on texts, where all samples of every position share one differentiable forward."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch as th
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv
from torch.nn import functional

from lm_gym.agents.algorithms.behaviours import Behaviour, Samples, draw
from lm_gym.agents.algorithms.episodic import CLOSED_FORM, EpisodicREINFORCE
from lm_gym.agents.algorithms.estimators import (
    Advantage,
    Baseline,
    check_estimator,
    kl_divergence,
)
from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm, Update
from lm_gym.agents.algorithms.importance import importance_ratios, reweighted
from lm_gym.agents.algorithms.older_weights import Weights
from lm_gym.agents.algorithms.pairing import Plan, check_episodes, plan
from lm_gym.agents.algorithms.rollouts import EpisodeRollout, Rollouts, TextRollout
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.algorithms.text_likelihoods import Likelihood
from lm_gym.agents.algorithms.text_updates import all_choices_update, sample_rewards, sampled_update
from lm_gym.agents.model.devices import upload
from lm_gym.agents.model.packed import Packed, entropy, mean_entropy
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.bounds import Interval, NonNegativeFloat, NonNegativeInt, PositiveInt, UnitInterval
from lm_gym.naming import check_choice


class REINFORCE(EpisodicREINFORCE):
    """Monte-Carlo policy gradient (Williams, 1992) over the positions of texts.

    One forward pass over a batch of N texts gives π at every position, from which K choices are drawn. The environment
    computes the rewards of all K samples at each position, and the gradient flows through the same forward pass. If the
    environment gives the reward of *every* choice, no samples are needed, and the gradient is exact.

    The value `"auto"` chooses the estimator that suits the reward:

    * rewards that depend only on the position's own choice, and are never negative (`accuracy`) or the logarithm of a
      likelihood (`log_likelihood`, maximised as R = exp(r)): γ = 0, `maximum_likelihood`, with all choices; or with
      16 samples from the `mixture` if the choices are few or their rewards must be computed one by one;
    * other rewards that depend only on the position's own choice: γ = 0, `plain`;
    * rewards that depend on other positions (`f1`, sparse rewards): γ = 1, `plain` with `leave_one_out`.

    With `unit="token"`, it learns from whole episodes with one sample per step. For rewards of the first kind, it still
    uses every choice at each step. If texts take several steps, and in any other Gymnasium environment (with an
    `MlpPolicy`), it works like its base class, `EpisodicREINFORCE`: one sample per step, γ = 1, and the baseline
    `value`, `moving_average` or, with groups of rows that play the same text, `leave_one_out`.

    With the textbook estimator (`advantage="plain"`), exact-match NER collapses to the tag O for every word, and
    log-likelihood to one choice everywhere. docs/algorithms/reinforce.md explains why, and what
    `maximum_likelihood` maximises instead.

    Args:
        policy, env, learning_rate: see GradientAlgorithm, as for schedule, warmup, max_grad_norm, autocast, seed, ….
        samples: K, the number of choices drawn at each position; `all` for every choice; or `auto`.
        gamma: discount γ in [0, 1] of the returns-to-go G_t = Σ γ^(i−t) r_i, or `"auto"`.
        baseline: `none | moving_average | value | leave_one_out | group_mean | greedy | counterfactual | auto`. `value`
            trains the policy's critic; `greedy` is the return of the most probable choices (self-critical);
            `counterfactual` is the return of the sample with its choice at the position replaced by the most probable
            one (difference rewards).
        advantage: `plain | normalized | group_normalized | maximum_likelihood | auto`. `group_normalized` and
            `maximum_likelihood` define their own baseline.
        behaviour: `policy | mixture | unigram | reference | without_replacement | auto`, the distribution from which
            choices are drawn. All except `policy` need γ = 0 and rewards that depend only on the position's own choice.
            With `maximum_likelihood`, `auto` is the mixture, which keeps sampling rare choices; otherwise, it is the
            policy itself.
        exploration: ε of the mixtures (1−ε) π + ε w: w is uniform (`mixture`), the frequencies of the training split's
            gold choices (`unigram`), or the policy as it was when training began (`reference`).
        entropy_coef: weight of the entropy bonus.
        kl_coef: weight of KL(π ‖ π at the start of training). With 0, no reference model is kept.
        supervised_coef: weight of the supervised loss, −log π of the right choice, which is added to the loss of the
            policy gradient (Wu et al., arXiv 1609.08144, eq. 9), for rewards such as F1. With 0, labels are not used.
        likelihood: how the likelihood of texts that take several steps is computed: `exact`, or, for comparison, an
            estimate from the literature: `one_step | elbo | coupled` (`lm_gym.agents.algorithms.text_likelihoods`).
        masks: number of random masks of the estimates `elbo` and `coupled`.
        lag: number of updates between the weights that draw samples and the update that learns from them, at least.
            With 0 and `sync_every` 1, the policy that learns draws its samples itself.
        sync_every: number of updates whose samples are drawn with the same weights.
        max_ratio: bound of the ratio π(a)/π_old(a) by which samples of older weights are weighted, at least 1.

    Raises:
        ValueError: a name is unknown, or a combination is meaningless. The message says what to do.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **GradientAlgorithm.policy_aliases,
        "MlpPolicy": ActorCriticPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }

    plays_apart: ClassVar[bool] = True

    def __init__(
        self,
        policy: str | type[LMPolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        learning_rate: NonNegativeFloat | Literal["auto"] | Callable[[float], float] = "auto",
        *,
        samples: PositiveInt | Literal["auto", "all"] = "auto",
        gamma: UnitInterval | Literal["auto"] = "auto",
        baseline: Baseline | Literal["auto"] = "auto",
        advantage: Advantage | Literal["auto"] = "auto",
        behaviour: Behaviour | Literal["auto"] = "auto",
        exploration: UnitInterval = 0.3,
        entropy_coef: NonNegativeFloat = 0.0,
        kl_coef: NonNegativeFloat = 0.0,
        supervised_coef: NonNegativeFloat = 0.0,
        likelihood: Likelihood = "exact",
        masks: PositiveInt = 1,
        lag: NonNegativeInt = 0,
        sync_every: PositiveInt = 1,
        max_ratio: Annotated[float, Interval(1)] = 2.0,
        **gradient_algorithm: Any,
    ) -> None:
        self.samples, self.exploration = samples, exploration
        self.gamma, self.baseline, self.advantage, self.behaviour = gamma, baseline, advantage, behaviour
        self.entropy_coef, self.kl_coef, self.supervised_coef = entropy_coef, kl_coef, supervised_coef
        check_choice("likelihood", likelihood, get_args(Likelihood))
        self.likelihood, self.masks = likelihood, masks
        self.lag, self.sync_every, self.max_ratio = lag, sync_every, max_ratio
        self.rollouts = Rollouts()
        self._recorded: dict[int, Weights] = {}
        self._reference: LMPolicy | None = None
        super().__init__(policy, env, learning_rate, **gradient_algorithm)

    def _setup_model(self) -> None:
        super()._setup_model()
        if self._refers:
            self._reference = deepcopy(self.policy).requires_grad_(False)

    @property
    def _plays_texts(self) -> bool:
        return issubclass(self.policy_class, LMPolicy)

    @property
    def _refers(self) -> bool:
        """Tell whether the policy at the start of training is needed."""
        return self.kl_coef > 0 or self.behaviour == "reference"

    def _texts(self, env: VecEnv) -> TextEnvironments | None:
        if not isinstance(env.action_space, spaces.MultiDiscrete) or not self._plays_texts:
            return None
        texts = TextEnvironments(env)
        return texts if texts.first.at_once else None

    # ------------------------------------------------------------------ which estimator

    def _check_env(self, env: VecEnv) -> None:
        check_estimator(self.baseline, self.advantage, self.behaviour, self.samples)
        distribution = isinstance(env.action_space, spaces.Box) and issubclass(self.policy_class, LMPolicy)
        if self.likelihood != "exact":
            self._check_likelihood(env)
        if self._texts(env) is None and not distribution:
            self._check_episodes(env)
            self._check_lag()
            return
        super()._check_env(env)
        self._check_lag()
        texts = TextEnvironments(env)
        plan = self._plan(texts)
        if plan.behaviour != "policy" and not plan.estimator.alone:
            raise ValueError(
                f"behaviour {plan.behaviour!r} weighs each position by itself, but reward {texts.first.reward.name!r} "
                f"with gamma {plan.estimator.gamma} ties positions together: use behaviour='policy', or "
                "reward='accuracy' with gamma=0"
            )

    def explanations(self) -> dict[str, str]:
        """See TextAlgorithm; includes how the agent learns from the reward."""
        said = super().explanations()
        texts = None if self.env is None else self._texts(self.env)
        if texts is None:
            return said
        plan, reward = self._plan(texts), texts.first.reward.name
        found = {
            "samples": "every choice, in closed form" if plan.samples is None else plan.samples,
            "gamma": plan.estimator.gamma,
            "baseline": plan.baseline,
            "advantage": plan.estimator.advantage,
            "behaviour": plan.behaviour,
        }
        return said | {k: f"{v}: reward {reward}" for k, v in found.items() if getattr(self, k) == "auto"}

    def _plan(self, texts: TextEnvironments) -> Plan:
        """Choose the estimator, with a decision for each `"auto"`."""
        return plan(self._asked, texts.first.reward, texts.first.task.shape.choices)

    def _check_episodes(self, env: VecEnv) -> None:
        """Refuse settings that need several samples per step or whole texts, which episodes don't have."""
        for name in ("kl_coef", "supervised_coef"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)} needs texts that are decided as a whole: make the environment with "
                    "unit='sequence', or leave it at 0"
                )
        if self._step_estimator(env) is None:
            grouped = self._plays_texts and TextEnvironments(env).first.group_size > 1
            check_episodes(self._asked, grouped=grouped)

    def _check_lag(self) -> None:
        """Refuse older weights if there are no samples that a ratio could correct."""
        if not self.on_policy and self.unsampled is not None:
            raise ValueError(
                f"lag={self.lag} and sync_every={self.sync_every} draw samples with older weights, and "
                f"{self.unsampled}; or leave them at 0 and 1"
            )

    def _check_likelihood(self, env: VecEnv) -> None:
        """Refuse estimates of the likelihood of tokens if steps do not fill exactly the positions that are due."""
        several = isinstance(env.action_space, spaces.MultiDiscrete) and self._plays_texts and self._texts(env) is None
        if not several or TextEnvironments(env).first.task.may_end_open:
            why = "positions may stay open" if several else "texts do not take several steps with unit='sequence'"
            raise ValueError(
                f"likelihood={self.likelihood!r} estimates the likelihood of a text that is filled in fixed steps, but "
                f"here {why}: use likelihood='exact', or make lm_gym/Unmasking-v0 with unit='sequence' and "
                "order='left_to_right' or 'random'"
            )

    @property
    def timesteps_per_pass(self) -> int:
        """Timesteps of one pass over the training texts, where each position counts once per sample."""
        assert self.env is not None
        texts = self._texts(self.env)
        if texts is None:
            return self._group_size * super().timesteps_per_pass
        plan = self._plan(texts)
        samples = plan.samples or 1
        if plan.behaviour == "without_replacement":
            samples = min(samples, self.policy.num_choices)
        return samples * super().timesteps_per_pass

    @property
    def forward_passes_per_pass(self) -> int:
        """Forward passes of one pass: one per text, and others for a reference model and for older weights."""
        drawn = 0 if self.on_policy else 1 + (self.behaviour == "reference")
        learned = 1 + (self.kl_coef > 0 or (self._refers and self.on_policy))
        return (drawn + learned) * super().forward_passes_per_pass

    # ------------------------------------------------------------------ an update on whole texts

    def _update(self, obs: TensorObservation, texts: TextEnvironments) -> Update:
        self.rollouts.begin(self)
        packed = self.sharing.positions(self.policy, obs)
        rollout = self.rollouts.take(self)
        reference = None
        if self.kl_coef or rollout is None:
            reference = self._reference_log_probs(obs)
            self.forward_passes += 0 if reference is None else len(obs["input_ids"])
        plan = self._plan(texts)
        if plan.samples is None:
            update = all_choices_update(packed, texts, plan.estimator)
        elif rollout is None:
            drawn, rewards = self._draw(packed, texts, plan, reference)
            update = self._learn(packed, texts, plan, drawn, rewards)
        else:
            assert isinstance(rollout, TextRollout)
            update = self._learn_from_rollout(packed, texts, plan, rollout)
        loss, logs = update.loss, update.logs
        if self.entropy_coef:
            H = entropy(packed.log_probs).mean()
            loss = loss - self.entropy_coef * H
            logs["train/entropy_loss"] = -H
        elif plan.samples is not None or self.logs_now:  # over every choice of a vocabulary it costs a pass over logits
            logs["train/entropy_loss"] = -mean_entropy(packed.log_probs)
        if self.kl_coef and reference is not None:
            kl = kl_divergence(packed.log_probs, reference).mean()
            loss = loss + self.kl_coef * kl
            logs["train/kl_to_reference"] = kl
        if self.supervised_coef:
            supervised_loss = functional.nll_loss(packed.log_probs, packed.pick(texts.targets))
            loss = loss + self.supervised_coef * supervised_loss
            logs["train/supervised_loss"] = supervised_loss
        return replace(update, loss=loss)

    def _draw(
        self, packed: Packed, texts: TextEnvironments, plan: Plan, reference: th.Tensor | None
    ) -> tuple[Samples, th.Tensor]:
        """Draw samples from a policy at the positions of the current texts, and compute their rewards [K, Q]."""
        assert plan.samples is not None
        wider = self._wider(plan.behaviour, texts, reference)
        drawn = draw(packed.log_probs, plan.samples, plan.behaviour, self.exploration, wider)
        return drawn, sample_rewards(packed, texts, drawn.actions)

    def _learn(self, packed: Packed, texts: TextEnvironments, plan: Plan, drawn: Samples, rewards: th.Tensor) -> Update:
        return sampled_update(packed, texts, plan, drawn, rewards, self._learned_baseline, variance=self.logs_now)

    def _learn_from_rollout(self, packed: Packed, texts: TextEnvironments, plan: Plan, rollout: TextRollout) -> Update:
        """Learn from samples of older weights."""
        drawn = rollout.samples(packed)
        older, rewards = upload(rollout.log_probs, self.device), upload(rollout.rewards, self.device)
        ratios = importance_ratios(drawn.log_probs, older, None if plan.estimator.alone else packed.rows)
        update = self._learn(packed, texts, plan, reweighted(drawn, ratios, self.max_ratio), rewards)
        self.forward_passes += rollout.encoded
        return replace(update, logs=update.logs | self._rollout_logs(ratios))

    @property
    def unsampled(self) -> str | None:
        """See EpisodicREINFORCE."""
        assert self.env is not None
        texts = self._texts(self.env)
        if texts is None:
            return super().unsampled
        return None if self._plan(texts).samples else f"samples={self.samples!r} {CLOSED_FORM}"

    def roll_out(self, policy: BasePolicy, update: int) -> TextRollout | EpisodeRollout:
        """See EpisodicREINFORCE."""
        assert self.env is not None
        texts = self._texts(self.env)
        if texts is None:
            return super().roll_out(policy, update)
        assert isinstance(policy, LMPolicy)
        policy.set_training_mode(True)
        obs, _ = policy.obs_to_tensor(self._last_obs)
        assert isinstance(obs, dict)
        plan, encoded = self._plan(texts), len(obs["input_ids"])
        with self._keyed_randomness(update), self._precision(), th.no_grad():
            packed = self.sharing.positions(policy, obs)
            reference = self._reference_log_probs(obs) if plan.behaviour == "reference" else None
            drawn, rewards = self._draw(packed, texts, plan, reference)
        return TextRollout.of(drawn, rewards, encoded if reference is None else 2 * encoded)

    def _wider(self, behaviour: str, texts: TextEnvironments, reference: th.Tensor | None) -> th.Tensor | None:
        """Compute the distribution that is mixed into the policy, [n] or [Q, n]; None for uniform."""
        if behaviour == "unigram":
            return th.as_tensor(texts.first.task.target_counts + 1.0, dtype=th.float32, device=self.device)
        return reference.exp() if behaviour == "reference" and reference is not None else None

    def _learned_baseline(
        self, baseline: Baseline, packed: Packed, mean: th.Tensor
    ) -> tuple[th.Tensor | float, th.Tensor]:
        """Compute a baseline that remembers earlier batches, and the loss that trains it (see `sampled_update`)."""
        if baseline == "value":
            values = self.policy.values(packed)
            return values.detach(), functional.mse_loss(values, mean)
        return self._moving_average(mean), mean.new_zeros(())

    def _reference_log_probs(self, obs: TensorObservation) -> th.Tensor | None:
        """Compute log π of the policy at the start of training, [Q, n]; None if it is not needed."""
        if self._reference is None:
            return None
        self._reference.set_training_mode(False)
        with th.no_grad():
            return self.sharing.positions(self._reference, obs).log_probs

    # ------------------------------------------------------------------ whole episodes

    def _train_batch(self, texts: TextEnvironments | None, callback: BaseCallback) -> bool:
        """Learn from one batch of whole texts or episodes. Return False if a callback stops training."""
        kind = EpisodicREINFORCE if texts is None else GradientAlgorithm
        return kind._train_batch(self, texts, callback)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return ([*names, "_reference"] if self._refers else names), variables

    def _excluded_save_params(self) -> list[str]:
        known = ("_recorded",) if self.on_policy else ()  # weights that the policy has anyway
        return [*super()._excluded_save_params(), "_reference", "_told", "rollouts", *known]
