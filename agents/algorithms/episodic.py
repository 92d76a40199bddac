"""REINFORCE in any Gymnasium environment, from whole episodes with one sample per step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch.nn import functional

from lm_gym.agents.algorithms.all_choices import TextRewards, all_choices_loss
from lm_gym.agents.algorithms.behaviours import Behaviour, Samples
from lm_gym.agents.algorithms.estimators import Advantage, Baseline, coefficients, policy_gradient_loss
from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm
from lm_gym.agents.algorithms.importance import importance_ratios, ratio_logs, reweighted
from lm_gym.agents.algorithms.older_weights import WeightHistory, Weights
from lm_gym.agents.algorithms.pairing import Estimator, EstimatorArguments, pair_steps
from lm_gym.agents.algorithms.rollouts import EpisodeRollout, Rollouts, TextRollout
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.algorithms.text_likelihoods import Likelihood, passes, text_log_likelihood
from lm_gym.agents.algorithms.trajectories import Trajectories, play_episodes, positions_decided
from lm_gym.agents.model.packed import entropy, mean_entropy
from lm_gym.agents.model.policy import LMPolicy

CLOSED_FORM = "learns from every choice in closed form here: give a number of samples"
_LEARNING = 1  # purpose of random numbers: dropout while the policy learns from episodes, apart from playing them


class EpisodicREINFORCE(GradientAlgorithm):
    """Base class of REINFORCE, which learns from whole episodes, one in each row, by plain VecEnv calls.

    If the environment gives the reward of every choice, and each position is credited with its own reward only, every
    choice counts at each step (`pair_steps`).

    Attributes:
        samples: `"auto"`; a number for one sample per step.
        gamma: γ of the returns-to-go; `"auto"` is 1.
        baseline: `none`, `moving_average`, `value`, or, if rows play the same texts (`group_size`), `leave_one_out`;
            `"auto"` is `leave_one_out` with groups, else `value`.
        advantage: `plain` or `normalized`; `"auto"` is `plain`.
        behaviour: `policy`; `"auto"` is the same.
        entropy_coef: weight of the entropy bonus.
        likelihood: `exact`, the product of the probabilities of all decisions; or an estimate of the likelihood of the
            finished text, of those in `text_likelihoods`.
        masks: number of random masks of the estimates `elbo` and `coupled`.
        lag, sync_every: how old the weights are that draw the rollouts (see `WeightHistory`).
        max_ratio: the bound of importance weights of rollouts of older weights.
        rollouts: where rollouts are drawn.
    """

    samples: int | Literal["auto", "all"]
    gamma: float | Literal["auto"]
    baseline: Baseline | Literal["auto"]
    advantage: Advantage | Literal["auto"]
    behaviour: Behaviour | Literal["auto"]
    entropy_coef: float
    likelihood: Likelihood
    masks: int
    lag: int
    sync_every: int
    max_ratio: float
    rollouts: Rollouts
    _recorded: dict[int, Weights]
    _told: TextRewards | None = None  # rewards of every choice in the texts of the current episodes
    _average = 0.0  # the moving average of returns
    _average_weight = 0.0  # and its bias correction

    def _train_batch(self, texts: TextEnvironments | None, callback: BaseCallback) -> bool:
        """Play one episode in every row, and update. Return False if a callback stops training."""
        assert self.env is not None

        def observe(infos: list[dict[str, Any]], running: NDArray[np.bool_]) -> bool:
            self.num_timesteps += positions_decided(infos, running)
            self._update_info_buffer(infos)
            callback.update_locals({"infos": infos})
            with self._precision(full=True):
                return callback.on_step()

        callback.on_rollout_start()
        self.rollouts.begin(self)
        rollout = self.rollouts.take(self)
        if rollout is None:
            episodes = self._play(self.policy, self._n_updates, observe)
        else:
            assert isinstance(rollout, EpisodeRollout)
            episodes = rollout.replayed(observe)
            self.forward_passes += rollout.encoded
        if episodes is None:
            return False
        callback.on_rollout_end()
        with self._keyed_randomness(self._n_updates, _LEARNING):
            self.policy.set_training_mode(True)
            spent = replace(self.policy.encoder.spent) if isinstance(self.policy, LMPolicy) else None
            with self._precision():
                loss, logs = self._episode_loss(episodes, None if rollout is None else rollout.log_probs)
            self._descend(loss, self.num_timesteps, logs)
        encoded = len(episodes.actions)
        if spent is not None and self._reads_steps:
            encoded = self.policy.encoder.spent.backward - spent.backward
        learned = encoded * self._reads_steps + self._masked_passes * len(episodes.running)
        self.forward_passes += encoded + learned  # for playing and for learning
        self.backward_passes += learned
        self._dump_logs_if_due()
        return True

    def _play(
        self, policy: BasePolicy, update: int, observe: Callable[[list[dict[str, Any]], NDArray[np.bool_]], bool]
    ) -> Trajectories | None:
        """Sample the episodes from which an update learns, one in each row; None if `observe` stops them."""
        assert self.env is not None
        with self._keyed_randomness(update), self._precision():
            self.env.seed(self._key(update))
            return play_episodes(policy, self.env, observe, self._episodes_begin)

    # ------------------------------------------------------------------ rollouts of older weights

    @property
    def on_policy(self) -> bool:
        """Whether every update learns from rollouts of the weights that it changes."""
        return self.lag == 0 and self.sync_every == 1

    @property
    def history(self) -> WeightHistory:
        """The weights that rollouts of later updates need."""
        return WeightHistory(self.lag, self.sync_every, self._recorded)

    @property
    def unsampled(self) -> str | None:
        """Why updates do not learn from samples that could be drawn apart, and a way out; None if they do."""
        assert self.env is not None
        if self.likelihood != "exact":
            return f"likelihood={self.likelihood!r} gives no ratio of probabilities: use likelihood='exact'"
        return None if self._step_estimator(self.env) is None else f"samples={self.samples!r} {CLOSED_FORM}"

    def batch_draws(self) -> tuple[int, int]:
        """Return the number of texts drawn before the current batch, and of those of a batch; 0 for whole episodes."""
        assert self.env is not None
        texts = self._texts(self.env)
        return (0, 0) if texts is None else (texts.batch_draws, texts.draws_per_batch)

    def roll_out(self, policy: BasePolicy, update: int) -> TextRollout | EpisodeRollout:
        """Draw the rollout for an update from a policy, which may have older weights than the agent's own."""
        steps: list[tuple[list[dict[str, Any]], NDArray[np.bool_]]] = []

        def note(infos: list[dict[str, Any]], running: NDArray[np.bool_]) -> bool:
            steps.append((infos, running))
            return True

        episodes = self._play(policy, update, note)
        assert episodes is not None
        obs, _ = policy.obs_to_tensor(episodes.observations)
        actions = th.as_tensor(episodes.actions, device=self.device)
        policy.set_training_mode(True)
        with self._keyed_randomness(update, _LEARNING), self._precision(), th.no_grad():
            _, log_probs, _ = policy.evaluate_actions(obs, actions)  # type: ignore[operator]
        return EpisodeRollout(episodes, log_probs.cpu().numpy(), steps, len(episodes.actions))

    def _rollout_logs(self, ratios: th.Tensor) -> dict[str, float | th.Tensor]:
        """Return what is logged about rollouts that were drawn apart from learning."""
        lag = self._n_updates - self.history.version(self._n_updates)
        return {"train/lag": lag, **ratio_logs(ratios, self.max_ratio), **self.rollouts.logs()}

    @property
    def _asked(self) -> EstimatorArguments:
        return EstimatorArguments(self.samples, self.gamma, self.baseline, self.advantage, self.behaviour)

    def _step_estimator(self, env: VecEnv) -> Estimator[Advantage] | None:
        """Return the estimator for steps at which every choice counts; None if one sample per step counts."""
        if not (isinstance(env.action_space, spaces.Discrete) and issubclass(self.policy_class, LMPolicy)):
            return None
        return pair_steps(self._asked, TextEnvironments(env).first.reward)

    def _episodes_begin(self) -> None:
        """Record the rewards of every choice in the texts that begin, before their first step."""
        assert self.env is not None
        told = self._step_estimator(self.env) is not None
        self._told = TextRewards.of(TextEnvironments(self.env)) if told else None

    def _episode_loss(
        self, episodes: Trajectories, older: NDArray[np.float32] | None
    ) -> tuple[th.Tensor, dict[str, float | th.Tensor]]:
        """Compute the loss of whole episodes, from every choice at each step or from one sample.

        Args:
            episodes: episodes of S steps.
            older: log π_old [S] of the policy that played them; None if the current policy did.
        """
        assert self.env is not None
        estimator = self._step_estimator(self.env)
        if self._told is None or estimator is None:
            return self._sampled_loss(episodes, older)
        obs, _ = self.policy.obs_to_tensor(episodes.observations)
        assert isinstance(obs, dict)
        rows = th.as_tensor(episodes.running, device=self.device).nonzero()[:, 0]
        rewards = self._told.at(rows, obs["cursor"].long().flatten())
        log_probs = self.policy.step_log_probs(obs)  # [S, n]
        loss, _ = all_choices_loss(log_probs, rewards, estimator.advantage, estimator.log_scale)
        H = entropy(log_probs).mean() if self.entropy_coef else mean_entropy(log_probs)
        logs: dict[str, float | th.Tensor] = {
            "train/policy_gradient_loss": loss.item(),
            "train/entropy_loss": -H.item(),
            "train/mean_position_reward": float(episodes.rewards[episodes.running].mean()),
        }
        return (loss - self.entropy_coef * H if self.entropy_coef else loss), logs

    def _sampled_loss(
        self, episodes: Trajectories, older: NDArray[np.float32] | None
    ) -> tuple[th.Tensor, dict[str, float | th.Tensor]]:
        """Compute the loss of whole episodes with one sample per step."""
        gamma = 1.0 if self.gamma == "auto" else self.gamma
        G = episodes.returns(gamma).to(self.device)[None]
        size, baseline = self._group_size, self._baseline
        advantage: Advantage = "plain" if self.advantage == "auto" else self.advantage
        H: th.Tensor | None = None
        log_prob, value_loss = G.new_zeros(G.shape[1]), G.new_zeros(())
        expected: th.Tensor | float = 0.0
        if self._reads_steps:
            obs, _ = self.policy.obs_to_tensor(episodes.observations)
            actions = th.as_tensor(episodes.actions, device=self.device)
            values, log_prob, entropies = self.policy.evaluate_actions(obs, actions)
            H = log_prob.neg().mean() if entropies is None else entropies.mean()
            if baseline == "value":
                expected, value_loss = values.detach().flatten(), functional.mse_loss(values.flatten(), G[0])
        if baseline == "moving_average":
            expected = self._moving_average(G)
        if baseline == "leave_one_out":
            expected, baseline = episodes.leave_one_out(gamma, size).to(self.device), "none"
        drawn = Samples(th.as_tensor(episodes.actions, device=self.device)[None], log_prob[None], th.ones_like(G))
        logs: dict[str, float | th.Tensor] = {}
        if older is not None:
            wholes = th.as_tensor(episodes.running.nonzero()[0], device=self.device)
            ratios = importance_ratios(drawn.log_probs, th.as_tensor(older, device=self.device)[None], wholes)
            drawn, logs = reweighted(drawn, ratios, self.max_ratio), self._rollout_logs(ratios)
        c = coefficients(G, drawn, baseline=baseline, advantage=advantage, expected=expected)
        exact = self.likelihood == "exact"
        gradient_loss = policy_gradient_loss(c, drawn) if exact else self._estimated_loss(episodes, c[0])
        logs |= {
            "train/policy_gradient_loss": gradient_loss.item(),
            "train/value_loss": value_loss.item(),
            "train/return_variance": G.var().item(),
        }
        if H is not None:
            logs["train/entropy_loss"] = -H.item()
        bonus = 0.0 if H is None else self.entropy_coef * H
        return gradient_loss + 0.5 * value_loss - bonus, logs

    @property
    def _baseline(self) -> Baseline:
        """The baseline, with a decision for `"auto"`."""
        if self.baseline != "auto":
            return self.baseline
        return "value" if self._group_size == 1 else "leave_one_out"

    @property
    def _reads_steps(self) -> bool:
        """Whether learning reads the texts of all steps again."""
        return self.likelihood == "exact" or self._baseline == "value" or self.entropy_coef > 0

    @property
    def _masked_passes(self) -> int:
        """Forward passes over a text that estimate its likelihood."""
        return {"one_step": 1, "elbo": self.masks, "coupled": 2 * self.masks + 1}.get(self.likelihood, 0)

    def _estimated_loss(self, episodes: Trajectories, c: th.Tensor) -> th.Tensor:
        """Compute the policy-gradient loss with an estimate of the likelihood of each finished text.

        Args:
            episodes: episodes of S steps, each of which decides all positions that are due.
            c: float32 [S], the coefficient of each step; that of the first one is the advantage of the whole episode.
        """
        assert isinstance(self.policy, LMPolicy)
        assert isinstance(episodes.observations, dict)
        first = episodes.first_steps()
        due = episodes.observations["due"] > 0
        tokens = np.add.reduceat(np.where(due, episodes.actions, 0), first, axis=0)  # each position is due once
        obs, _ = self.policy.obs_to_tensor({name: leaf[first] for name, leaf in episodes.observations.items()})
        assert isinstance(obs, dict)
        drawn = passes(self.likelihood, obs["position_mask"].bool(), self.masks)
        log_prob = text_log_likelihood(self.policy, obs, th.as_tensor(tokens, device=self.device), drawn)
        return -(c[th.as_tensor(first, device=self.device)] * log_prob).sum() / len(c)

    @property
    def _group_size(self) -> int:
        """Number of rows that play the same text; 1 in an environment that is not lm_gym's."""
        assert self.env is not None
        return TextEnvironments(self.env).first.group_size if issubclass(self.policy_class, LMPolicy) else 1

    def _moving_average(self, returns: th.Tensor) -> float:
        """Return the average return of earlier updates (0 before the first), and update it."""
        expected = self._average / self._average_weight if self._average_weight else 0.0
        self._average = 0.95 * self._average + 0.05 * returns.mean().item()
        self._average_weight = 0.95 * self._average_weight + 0.05
        return expected
