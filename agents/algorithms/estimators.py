"""The mathematics of REINFORCE: returns, samples, baselines and advantages, as pure functions of tensors.

Shapes: K samples, N texts, T positions of a text, Q positions of a batch without padding, n choices.

All estimators have the same form. The samples a_k of a position have weights ω_k, with which Σ_k ω_k f(a_k) estimates
E_π[f]. `coefficients` turns returns into numbers c_k, and Σ_k c_k ∇ log π(a_k) is the estimate of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch.nn import functional

from lm_gym.agents.algorithms.behaviours import Behaviour, Samples

Baseline = Literal["none", "moving_average", "value", "leave_one_out", "group_mean", "greedy", "counterfactual"]
_OF_THE_GROUP = ("leave_one_out", "group_mean")
Advantage = Literal["plain", "normalized", "group_normalized", "maximum_likelihood"]


def returns_to_go(r_t: th.Tensor, gamma: float) -> th.Tensor:
    """Compute G_t = Σ_{i ≥ t} γ^(i−t) r_i along the last dimension.

    Args:
        r_t: rewards [..., T], 0 in the padding at the end.
        gamma: discount in [0, 1]; 0 gives each position its own reward.

    Returns:
        G_t, the shape of `r_t`.
    """
    if gamma == 0.0:
        return r_t
    if gamma == 1.0:
        return r_t.flip(-1).cumsum(-1).flip(-1)
    i = th.arange(r_t.shape[-1], device=r_t.device)
    ahead = (i[:, None] - i[None, :]).clamp(min=0)  # [T, T]: i − t
    discount = th.where(i[:, None] >= i[None, :], gamma ** ahead.to(r_t.dtype), 0.0)
    return r_t @ discount


def greedy_returns(
    ask: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    actions: NDArray[np.int64],
    greedy: NDArray[np.int64],
    gamma: float,
) -> th.Tensor:
    """Compute returns-to-go of the most probable choices, the baseline of self-critical training (arXiv 1612.00563).

    Args:
        ask: rewards of actions [K, N, T] → float32 [K, N, T].
        actions: samples [K, N, T].
        greedy: the most probable choices [N, T].
        gamma: γ.

    Returns:
        float32 [1, N, T], the same for every sample.
    """
    return returns_to_go(th.as_tensor(ask(greedy[None])), gamma)


def counterfactual_returns(
    ask: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    actions: NDArray[np.int64],
    greedy: NDArray[np.int64],
    gamma: float,
) -> th.Tensor:
    """Compute returns-to-go of each sample with only its choice at t replaced by the most probable one, for every t.

    As a baseline, they give difference rewards (Wolpert & Tumer 2002; the counterfactual baseline of arXiv 1705.08926),
    which credit a choice with what it adds to its text. They do not depend on the choice itself, so the gradient stays
    unbiased.

    Args: as in `greedy_returns`.

    Returns:
        float32 [K, N, T].
    """
    K, N, T = actions.shape
    replaced = np.repeat(actions[None], T, 0)  # [T, K, N, T]
    t = np.arange(T)
    replaced[t, :, :, t] = greedy.T[:, None]
    G = returns_to_go(th.as_tensor(ask(replaced.reshape(T * K, N, T))), gamma).view(T, K, N, T)
    return G[t, :, :, t].permute(1, 2, 0)


def leave_one_out(G: th.Tensor, weights: th.Tensor) -> th.Tensor:
    """Estimate E_π[G] for each sample from the other K−1 samples (RLOO, Kool et al. 2019; arXiv 2402.14740).

    Args:
        G: returns [K, Q] of independent samples, K ≥ 2.
        weights: ω [K, Q].
    """
    samples = len(G)
    weighted = weights * G  # an estimate of E[G] is its sum; without sample k, scaled by K/(K−1)
    return (weighted.sum(0) - weighted) * (samples / (samples - 1))


def likelihoods(G: th.Tensor) -> th.Tensor:
    """Compute exp(G) [K, Q], scaled so that the largest of a position is 1; `maximum_likelihood` cancels the scale."""
    return (G - G.amax(0)).exp()


def coefficients(
    G: th.Tensor,
    drawn: Samples,
    *,
    baseline: Baseline,
    advantage: Advantage,
    expected: th.Tensor | float = 0.0,
) -> th.Tensor:
    """Compute the numbers c_k of the gradient estimate Σ_k c_k ∇ log π(a_k), one for each sample and position.

    `plain`: c = ω (G − b), unbiased for ∇E[G] with every baseline b. Without replacement, `leave_one_out` is the
    built-in baseline of Kool, van Hoof & Welling ("Buy 4 REINFORCE samples", 2019): c = ω (G (1 − π + ω) − Σ ω G).

    `normalized`: G − b is first scaled to mean 0 and standard deviation 1 over the batch (biased in scale).

    `group_normalized` (GRPO, arXiv 2402.03300, with each position as a group): c = ω (G − m)/s, with the mean m and the
    standard deviation s of the position's samples. Without s (`plain` with `group_mean`), it is Dr. GRPO (2503.20783).

    `maximum_likelihood` (MaxRL, arXiv 2602.02710): c = ω (G/m − 1) with m = Σ ω G, or −ω where m = 0: a
    Monte-Carlo estimate of ∇ log E[G] instead of ∇E[G]. If the reward is 1 for a right choice, which independent
    samples make with probability p, it is unbiased for ∇p (1 − (1−p)^K)/p, the first K terms of ∇ log p. Positions at
    which every sample fails still teach: the choices made become less likely. For a positive reward (see
    `likelihoods`), it is a ratio of two estimates, with a bias of order 1/K; K = 1 gives 0.

    Args:
        G: returns-to-go [K, Q]; never negative for `maximum_likelihood`.
        drawn: the samples.
        baseline: `leave_one_out` and `group_mean` take b from the samples, the others from `expected`. The last two
            advantages define their own baseline.
        advantage: see above.
        expected: b, a number, [Q] or [K, Q].

    Returns:
        float32 [K, Q], no gradient.
    """
    weights = drawn.weights
    if advantage == "maximum_likelihood":
        mean = (weights * G).sum(0)
        return weights * (th.where(mean > 0, G / th.where(mean > 0, mean, 1.0), 0.0) - 1.0)
    if advantage == "group_normalized":
        share = weights / weights.sum(0)
        difference = G - (share * G).sum(0)
        return weights * difference / ((share * difference**2).sum(0).sqrt() + 1e-6)
    if baseline == "leave_one_out" and not drawn.independent:
        probability = drawn.log_probs.detach().exp()
        difference = G * (1 - probability + weights) - (weights * G).sum(0)
    elif baseline == "leave_one_out":
        difference = G - leave_one_out(G, weights)
    elif baseline == "group_mean":
        difference = G - (weights * G).sum(0)
    else:
        difference = G - expected
    if advantage == "normalized":
        difference = (difference - difference.mean()) / (difference.std(correction=0) + 1e-8)
    return weights * difference


def policy_gradient_loss(c: th.Tensor, drawn: Samples) -> th.Tensor:
    """Return the mean of −Σ_k c_k log π(a_k) over positions; its gradient is minus the estimate."""
    return -(c * drawn.log_probs).sum(0).mean()


def gradient_variance(c: th.Tensor, drawn: Samples, log_probs: th.Tensor) -> th.Tensor:
    """Estimate the sampling variance of the gradient with respect to the logits from its K samples.

    With g_k = K c_k (e_{a_k} − π), the estimate of one sample at a position, the variance of their mean is
    Σ_k |g_k − ḡ|² / (K (K−1)), here averaged over positions. (Baselines make the samples dependent, so this is only an
    estimate. For samples without replacement, it is an upper bound.)

    Args:
        c: coefficients [K, Q], K ≥ 2.
        drawn: the samples.
        log_probs: log π [Q, n].
    """
    samples = len(c)
    probs = log_probs.detach().exp()
    scaled = samples * c
    square = (probs**2).sum(-1)  # [Q]
    lengths = scaled**2 * (1 - 2 * drawn.log_probs.detach().exp() + square)  # |g_k|²
    mean = th.zeros_like(probs).scatter_add_(1, drawn.actions.T, scaled.T / samples)
    mean -= probs * scaled.mean(0)[:, None]
    spread = lengths.sum(0) - samples * (mean**2).sum(-1)
    return spread.clamp(min=0).mean() / (samples * (samples - 1))


def dead_positions(G: th.Tensor) -> th.Tensor:
    """Return the fraction of positions at which all K returns-to-go, [K, Q], are equal, so no sample is preferred."""
    return (G.amax(0) == G.amin(0)).float().mean()


def kl_divergence(log_probs: th.Tensor, reference: th.Tensor) -> th.Tensor:
    """Compute KL(π ‖ reference) in nats at each position, [Q, n], [Q, n] → [Q]."""
    return functional.kl_div(reference, log_probs, log_target=True, reduction="none").sum(-1)


def check_estimator(baseline: str, advantage: str, behaviour: str, samples: int | str) -> None:
    """Refuse unknown names and meaningless combinations; every name may be `"auto"`.

    Raises:
        ValueError: a name or combination is refused; the message names the value and an alternative.
    """
    for name, value, known in (
        ("baseline", baseline, get_args(Baseline)),
        ("advantage", advantage, get_args(Advantage)),
        ("behaviour", behaviour, get_args(Behaviour)),
    ):
        if value not in (*known, "auto"):
            raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}, auto")
    if isinstance(samples, str):
        if samples not in ("auto", "all"):
            raise ValueError(f"samples {samples!r} is neither a number nor one of auto, all")
        return
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if samples < 2 and advantage != "maximum_likelihood" and baseline in ("leave_one_out", "group_mean"):
        raise ValueError(f"baseline {baseline!r} needs samples >= 2, got {samples}; or use another baseline")
    if samples < 2 and advantage == "group_normalized":
        raise ValueError(f"advantage 'group_normalized' needs samples >= 2, got {samples}")
    if advantage in ("maximum_likelihood", "group_normalized") and baseline not in ("auto", *_OF_THE_GROUP):
        raise ValueError(
            f"advantage {advantage!r} compares the samples of a position, and baseline {baseline!r} would be "
            "ignored: leave it at 'auto', or use advantage='plain'"
        )
