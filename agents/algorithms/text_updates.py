"""Updates from whole texts: the policy-gradient loss of a batch, and the actions to play."""

from __future__ import annotations

from collections.abc import Callable

import torch as th

from lm_gym.agents.algorithms.all_choices import TextRewards, all_choices_loss
from lm_gym.agents.algorithms.behaviours import Samples
from lm_gym.agents.algorithms.estimators import (
    Advantage,
    Baseline,
    coefficients,
    counterfactual_returns,
    dead_positions,
    gradient_variance,
    greedy_returns,
    likelihoods,
    policy_gradient_loss,
    returns_to_go,
)
from lm_gym.agents.algorithms.gradient_algorithm import Update
from lm_gym.agents.algorithms.pairing import Estimator, Plan
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.devices import upload
from lm_gym.agents.model.packed import Packed, draw_rows

LearnedBaseline = Callable[[Baseline, Packed, th.Tensor], tuple[th.Tensor | float, th.Tensor]]


def all_choices_update(packed: Packed, texts: TextEnvironments, estimator: Estimator[Advantage]) -> Update:
    """Learn from every choice at every position in closed form, and draw one choice to play.

    Args:
        packed: the policy at the Q positions of the current texts, with gradients.
        texts: the current texts, whose reward is `enumerable`.
        estimator: how rewards become a gradient.
    """
    rewards = TextRewards.of(texts).at(packed.rows, packed.slots)
    loss, _ = all_choices_loss(packed.log_probs, rewards, estimator.advantage, estimator.log_scale)
    drawn = draw_rows(packed.log_probs.detach())
    logs: dict[str, float | th.Tensor] = {
        "train/policy_gradient_loss": loss,
        "train/mean_position_reward": rewards.of(drawn).mean(),
    }
    return Update(loss, packed.unpack(drawn).cpu().numpy(), len(drawn), logs)


def sample_rewards(packed: Packed, texts: TextEnvironments, actions: th.Tensor) -> th.Tensor:
    """Return the rewards of K samples [K, Q] of the current texts at each position, float32 [K, Q]."""
    rewards = texts.position_rewards(_arranged(packed, actions).cpu().numpy())
    return upload(rewards, packed.log_probs.device)[:, packed.rows, packed.slots]


def sampled_update(
    packed: Packed,
    texts: TextEnvironments,
    plan: Plan,
    drawn: Samples,
    rewards: th.Tensor,
    learned: LearnedBaseline,
    *,
    variance: bool,
) -> Update:
    """Learn from K samples of every position, and play the first one.

    Args:
        packed: the policy at the Q positions of the current texts, with gradients.
        texts: the current texts.
        plan: the estimator and the baseline.
        drawn: the samples.
        rewards: their rewards, float32 [K, Q].
        learned: computes the baselines `value` and `moving_average`: the baseline's name, the policy and an estimate of
            E[G] at each position, [Q] → b, and the loss that trains it, a scalar.
        variance: whether to log the variance of the gradient, which costs a pass over all choices.
    """
    estimator, K = plan.estimator, len(drawn.actions)
    r_t = _arranged(packed, rewards)  # [K, N, T]
    G = returns_to_go(r_t, estimator.gamma)[:, packed.rows, packed.slots]  # [K, Q]
    dead = dead_positions(G)
    expected: th.Tensor | float = 0.0
    baseline_loss = G.new_zeros(())
    if plan.baseline in ("value", "moving_average"):
        expected, baseline_loss = learned(plan.baseline, packed, (drawn.weights * G).sum(0))
    elif plan.baseline in ("greedy", "counterfactual"):
        greedy = packed.unpack(packed.log_probs.detach().argmax(-1)).cpu().numpy()  # [N, T]
        played = _arranged(packed, drawn.actions).cpu().numpy()  # [K, N, T]
        ask = greedy_returns if plan.baseline == "greedy" else counterfactual_returns
        returns = ask(texts.position_rewards, played, greedy, estimator.gamma).to(G.device)
        expected = returns[:, packed.rows, packed.slots]
    climbed = likelihoods(G) if estimator.log_scale else G
    c = coefficients(climbed, drawn, baseline=plan.baseline, advantage=estimator.advantage, expected=expected)
    gradient_loss = policy_gradient_loss(c, drawn)
    logs: dict[str, float | th.Tensor] = {
        "train/policy_gradient_loss": gradient_loss,
        "train/mean_position_reward": r_t.sum().double() / drawn.actions.numel(),
        "train/return_variance": G.var(),
        "train/dead_positions": dead,
    }
    if plan.baseline == "value":
        logs["train/value_loss"] = baseline_loss
    if K > 1 and variance:
        logs["train/gradient_variance"] = gradient_variance(c, drawn, packed.log_probs)
    played_first = packed.unpack(drawn.actions[0]).cpu().numpy()
    return Update(gradient_loss + baseline_loss, played_first, drawn.actions.numel(), logs)


def _arranged(packed: Packed, values: th.Tensor) -> th.Tensor:
    """Arrange values [K, Q] like the actions of K samples, [K, N, T]; 0 where padded."""
    arranged = values.new_zeros((len(values), *packed.shape))
    arranged[:, packed.rows, packed.slots] = values
    return arranged
