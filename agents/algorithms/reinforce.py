"""REINFORCE on texts: K samples of every position share one differentiable forward."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar, Literal

import torch as th
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv
from torch.nn import functional

from lm_gym.agents.algorithms.episodic import EpisodicREINFORCE
from lm_gym.agents.algorithms.estimators import (
    Advantage,
    Baseline,
    Behaviour,
    Samples,
    check_estimator,
    coefficients,
    draw,
    gradient_variance,
    kl_divergence,
    policy_gradient_loss,
    returns_to_go,
)
from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm, Update
from lm_gym.agents.algorithms.pairing import pair
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.packed import Packed, entropy
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.rewards import Reward


class REINFORCE(EpisodicREINFORCE):
    """Monte-Carlo policy gradient (Williams, 1992) over the positions of texts.

    One forward of a batch of N texts gives π at every position; K choices are drawn at each; the environment says what
    the texts would pay for each of the K samples, position by position; and the same forward carries the gradient.

    The `"auto"`s pair reward and estimator by what the reward is:

    * its positions pay for themselves alone and never less than 0 (`accuracy`): γ = 0, `maximum_likelihood`,
      drawn from the `mixture`;
    * they pay for themselves but may be negative (`log_likelihood`): γ = 0, `plain` with `leave_one_out`;
    * a position's reward depends on other positions (`f1`, sparse rewards): γ = 1, `plain` with `leave_one_out`.

    In any other environment (`unit="token"`, texts that take several steps, or any Gymnasium environment with an
    `MlpPolicy`) it is its base, and learns from whole episodes (see `EpisodicREINFORCE`): one sample of each step,
    γ = 1, and a baseline `value`, `moving_average` or, with groups of rows that play the same text, `leave_one_out`.

    The textbook estimator (`advantage="plain"`) on exact-match NER collapses to tagging every word O; see
    docs/algorithms/reinforce.md for why, and for what `maximum_likelihood` climbs instead.

    Args:
        policy, env, learning_rate: see GradientAlgorithm, as for schedule, warmup, max_grad_norm, autocast, seed, ….
        samples: K, choices drawn at each position.
        gamma: discount γ in [0, 1] of the returns-to-go G_t = Σ γ^(i−t) r_i, or `"auto"`.
        baseline: `none | moving_average | value | leave_one_out | auto`. `value` trains the policy's critic.
        advantage: `plain | normalized | maximum_likelihood | auto`. `maximum_likelihood` has a baseline of its own.
        behaviour: `policy | mixture | without_replacement | auto`: where the choices are drawn from. The wider two
            are for rewards whose positions pay for themselves, with γ = 0. `auto` is the mixture with
            `maximum_likelihood`, where it keeps rare choices in sight, and the policy itself otherwise.
        exploration: ε of the mixture (1−ε) π + ε uniform.
        entropy_coef: weight of the entropy bonus.
        kl_coef: weight of KL(π ‖ the policy as it was when training began); 0 keeps no reference model.
        supervised_coef: weight of the supervised loss, −log π of the right choice, beside the policy gradient's: the
            mixed objective of Wu et al. (arXiv 1609.08144, eq. 9), for rewards such as F1. 0 never reads the labels.

    Raises:
        ValueError: names that don't exist, or combinations without meaning (each says the way out).
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **GradientAlgorithm.policy_aliases,
        "MlpPolicy": ActorCriticPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }

    def __init__(
        self,
        policy: str | type[LMPolicy] = "LMPolicy",
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None = None,
        learning_rate: float | Any = 1e-3,
        *,
        samples: int = 16,
        gamma: float | Literal["auto"] = "auto",
        baseline: Baseline | Literal["auto"] = "auto",
        advantage: Advantage | Literal["auto"] = "auto",
        behaviour: Behaviour | Literal["auto"] = "auto",
        exploration: float = 0.3,
        entropy_coef: float = 0.0,
        kl_coef: float = 0.0,
        supervised_coef: float = 0.0,
        **gradient_algorithm: Any,
    ) -> None:
        self.samples, self.exploration = samples, exploration
        self.gamma, self.baseline, self.advantage, self.behaviour = gamma, baseline, advantage, behaviour
        self.entropy_coef, self.kl_coef, self.supervised_coef = entropy_coef, kl_coef, supervised_coef
        self._reference: LMPolicy | None = None
        super().__init__(policy, env, learning_rate, **gradient_algorithm)

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.kl_coef:
            self._reference = deepcopy(self.policy).requires_grad_(False)

    @property
    def _plays_texts(self) -> bool:
        return issubclass(self.policy_class, LMPolicy)

    def _texts(self, env: VecEnv) -> TextEnvironments | None:
        if not isinstance(env.action_space, spaces.MultiDiscrete) or not self._plays_texts:
            return None
        texts = TextEnvironments(env)
        return texts if texts.first.at_once else None

    def _check_env(self, env: VecEnv) -> None:
        for name in ("kl_coef", "supervised_coef"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        distribution = isinstance(env.action_space, spaces.Box) and self._plays_texts
        if self._texts(env) is None and not distribution:
            self._check_episodes(TextEnvironments(env).first.group_size if self._plays_texts else 1)
            return
        super()._check_env(env)
        reward = TextEnvironments(env).first.reward
        estimator = self._estimator(reward)
        check_estimator(estimator["baseline"], estimator["advantage"], estimator["behaviour"], self.samples)
        if not 0.0 <= estimator["gamma"] <= 1.0:
            raise ValueError(f"gamma must be in [0, 1], got {estimator['gamma']}")
        if not 0.0 <= self.exploration <= 1.0:
            raise ValueError(f"exploration must be in [0, 1], got {self.exploration}")
        if estimator["behaviour"] != "policy" and not (reward.separable and estimator["gamma"] == 0.0):
            raise ValueError(
                f"behaviour {estimator['behaviour']!r} weighs each position by itself, and reward {reward.name!r} with "
                f"gamma {estimator['gamma']} ties positions together: take behaviour='policy', or reward='accuracy' "
                "with gamma=0"
            )

    def _estimator(self, reward: Reward) -> dict[str, Any]:
        """γ, baseline, advantage and behaviour with the `"auto"`s decided."""
        gamma, advantage = pair(reward, self.gamma, self.advantage, "plain")
        baseline = self.baseline
        if baseline == "auto":
            baseline = "leave_one_out" if self.samples > 1 else "moving_average"
        behaviour = self.behaviour
        if behaviour == "auto":
            wider = advantage == "maximum_likelihood" and reward.separable and gamma == 0.0
            behaviour = "mixture" if wider else "policy"
        return {"gamma": gamma, "baseline": baseline, "advantage": advantage, "behaviour": behaviour}

    def _check_episodes(self, group_size: int) -> None:
        """Whole episodes have one sample of each step: what needs several, or whole texts, is refused."""
        for name in ("kl_coef", "supervised_coef"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)} needs texts that are decided as a whole: make the environment with "
                    "unit='sequence', or leave it at 0"
                )
        if (
            (self.baseline == "leave_one_out" and group_size == 1)
            or self.advantage == "maximum_likelihood"
            or (self.behaviour not in ("auto", "policy"))
        ):
            raise ValueError(
                f"baseline={self.baseline!r}, advantage={self.advantage!r}, behaviour={self.behaviour!r}: episodes of "
                "single steps have one sample of each choice; take baseline='value', advantage='plain' or "
                "'normalized', behaviour='policy', or make the environment with unit='sequence' (or, for the baseline "
                "'leave_one_out', with a group_size above 1)"
            )

    @property
    def timesteps_per_pass(self) -> int:
        """Timesteps of one pass over the training texts: every position counts once for each sample of it."""
        assert self.env is not None
        if self._plays_texts and self._texts(self.env) is None:  # whole episodes, one of each row
            return self._group_size * super().timesteps_per_pass
        samples = self.samples
        if self.behaviour == "without_replacement":
            samples = min(samples, self.policy.num_choices)
        return samples * super().timesteps_per_pass

    @property
    def forward_passes_per_pass(self) -> int:
        """Forward passes of one pass: each text once, and once more through the reference where there is one."""
        return (2 if self.kl_coef else 1) * super().forward_passes_per_pass

    def _update(self, obs: TensorObservation, texts: TextEnvironments) -> Update:
        reward = texts.first.reward
        estimator = self._estimator(reward)
        packed = self.policy.positions(obs)
        drawn = draw(packed.log_probs, self.samples, estimator["behaviour"], self.exploration)
        K = len(drawn.actions)
        actions = drawn.actions.new_zeros((K, *obs["positions"].shape))  # [K, N, T]
        actions[:, packed.rows, packed.slots] = drawn.actions
        played = actions.cpu().numpy()
        r_t = th.as_tensor(texts.position_rewards(played), device=self.device)  # [K, N, T]
        G = returns_to_go(r_t, estimator["gamma"])[:, packed.rows, packed.slots]  # [K, Q]
        expected, value_loss = self._expected(estimator["baseline"], packed, drawn, G)
        c = coefficients(G, drawn, baseline=estimator["baseline"], advantage=estimator["advantage"], expected=expected)
        H = entropy(packed.log_probs).mean()
        gradient_loss = policy_gradient_loss(c, drawn)
        loss = gradient_loss + value_loss - self.entropy_coef * H
        logs = {
            "train/policy_gradient_loss": gradient_loss.item(),
            "train/entropy_loss": -H.item(),
            "train/mean_position_reward": r_t.sum().item() / drawn.actions.numel(),
            "train/return_variance": G.var().item(),
        }
        if estimator["baseline"] == "value":
            logs["train/value_loss"] = value_loss.item()
        if self._reference is not None:
            kl = self._kl(obs, packed)
            loss = loss + self.kl_coef * kl
            logs["train/kl_to_reference"] = kl.item()
            self.forward_passes += len(obs["input_ids"])
        if self.supervised_coef:
            supervised_loss = functional.nll_loss(packed.log_probs, packed.pick(texts.targets))
            loss = loss + self.supervised_coef * supervised_loss
            logs["train/supervised_loss"] = supervised_loss.item()
        if K > 1 and self.logs_now:
            logs["train/gradient_variance"] = gradient_variance(c, drawn, packed.log_probs)
        return Update(loss, played[0], drawn.actions.numel(), logs)

    def _train_batch(self, texts: TextEnvironments | None, callback: BaseCallback) -> bool:
        """One batch of whole texts, or of episodes. False when a callback asked to stop."""
        kind = EpisodicREINFORCE if texts is None else GradientAlgorithm
        return kind._train_batch(self, texts, callback)

    def _expected(
        self,
        baseline: str,
        packed: Packed,
        drawn: Samples,
        G: th.Tensor,
    ) -> tuple[th.Tensor | float, th.Tensor]:
        """The baseline b of each position, and the critic's loss (0 where there is no critic)."""
        no_loss = G.new_zeros(())
        mean = (drawn.weights * G).sum(0)  # [Q], estimates E[G]
        if baseline == "value":
            values = self.policy.values(packed)
            return values.detach(), functional.mse_loss(values, mean)
        if baseline == "moving_average":
            return self._moving_average(mean), no_loss
        return 0.0, no_loss

    def _kl(self, obs: TensorObservation, packed: Packed) -> th.Tensor:
        assert self._reference is not None
        self._reference.set_training_mode(False)
        with th.no_grad():
            reference = self._reference.positions(obs).log_probs
        return kl_divergence(packed.log_probs, reference).mean()

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return ([*names, "_reference"] if self.kl_coef else names), variables

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_reference"]
