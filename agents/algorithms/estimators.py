"""The mathematics of REINFORCE: returns, samples, baselines and advantages, as pure functions of tensors.

Shapes: K samples, N texts, T positions of a text, Q positions of a batch without padding, n choices.

All estimators have the same form. The samples a_k of a position have weights ω_k, such that Σ_k ω_k f(a_k) estimates
E_π[f]. `coefficients` turns returns into numbers c_k, and Σ_k c_k ∇ log π(a_k) is the estimate of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch as th
from torch.nn import functional

Behaviour = Literal["policy", "mixture", "without_replacement"]
Baseline = Literal["none", "moving_average", "value", "leave_one_out"]
Advantage = Literal["plain", "normalized", "maximum_likelihood"]


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


@dataclass(frozen=True)
class Samples:
    """K choices at each of Q positions.

    Attributes:
        actions: int64 [K, Q].
        log_probs: log π of the actions, float32 [K, Q], differentiable.
        weights: ω, float32 [K, Q], no gradient; Σ_k ω_k f(a_k) estimates E_π[f].
        independent: False if the K choices of a position were drawn without replacement.
    """

    actions: th.Tensor
    log_probs: th.Tensor
    weights: th.Tensor
    independent: bool = True


def draw(log_probs: th.Tensor, samples: int, behaviour: Behaviour = "policy", exploration: float = 0.3) -> Samples:
    """Draw `samples` choices at each position from a behaviour policy.

    `"policy"`: from π, ω = 1/K. `"mixture"`: from μ = (1−ε) π + ε uniform, importance-weighted, ω = π/(K μ).
    `"without_replacement"`: the top K of log π + Gumbel noise, ω = π(a) / P(a's noise beats the (K+1)-th), the
    unbiased weights of Kool, van Hoof & Welling (arXiv 1903.06059); K ≥ n enumerates all choices, ω = π.

    Args:
        log_probs: log π, float32 [Q, n]; -inf forbids a choice.
        samples: K ≥ 1; without replacement at most n are drawn.
        behaviour: see above.
        exploration: ε of the mixture, in [0, 1].
    """
    probs = log_probs.detach().exp()
    if behaviour == "without_replacement":
        return _draw_without_replacement(log_probs, samples)
    actions = th.multinomial(probs, samples, replacement=True).T  # [K, Q]
    if behaviour == "mixture":
        allowed = probs.new_ones(probs.shape).masked_fill(log_probs.detach() == float("-inf"), 0.0)
        uniform = th.multinomial(allowed, samples, replacement=True).T
        actions = th.where(th.rand(actions.shape, device=actions.device) < exploration, uniform, actions)
        probability = probs.gather(1, actions.T).T
        behind = (1 - exploration) * probability + exploration / allowed.sum(-1)
        weights = probability / behind / samples
    else:
        weights = probs.new_full(actions.shape, 1.0 / samples)
    return Samples(actions, log_probs.gather(1, actions.T).T, weights)


def _draw_without_replacement(log_probs: th.Tensor, samples: int) -> Samples:
    detached = log_probs.detach()
    noisy = detached - th.empty_like(detached).exponential_().log()  # Gumbel-perturbed log-probabilities
    n = detached.shape[-1]
    top = noisy.topk(min(samples + 1, n), dim=-1)
    if samples >= n:
        actions, threshold = top.indices, None
    else:
        actions, threshold = top.indices[:, :samples], top.values[:, samples:]
    chosen = detached.gather(1, actions)
    weights = chosen.exp()
    if threshold is not None:  # P(log p + G > κ) = 1 − exp(−exp(log p − κ))
        weights = weights / -th.expm1(-(chosen - threshold).exp())
    return Samples(actions.T, log_probs.gather(1, actions).T, weights.T, independent=False)


def leave_one_out(G: th.Tensor, weights: th.Tensor) -> th.Tensor:
    """Compute the baseline of each sample, the estimate of E_π[G] from the other K−1 (RLOO, Kool et al. 2019; arXiv
    2402.14740).

    Args:
        G: returns [K, Q] of independent samples, K ≥ 2.
        weights: ω [K, Q].
    """
    samples = len(G)
    weighted = weights * G  # an estimate of E[G] is its sum; without sample k, scaled by K/(K−1)
    return (weighted.sum(0) - weighted) * (samples / (samples - 1))


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

    `normalized`: G − b is brought to mean 0 and standard deviation 1 over the batch first (biased in scale).

    `maximum_likelihood` (MaxRL, arXiv 2602.02710): c = ω (G/m − 1) with m = Σ ω G, or −ω where m = 0: a
    Monte-Carlo estimate of ∇ log E[G] instead of ∇E[G]. For independent samples of a right/wrong reward whose
    probability of being right is p, it is unbiased for ∇p (1 − (1−p)^K)/p, the first K terms of ∇ log p. Texts on
    which every sample fails still teach: the choices made become less likely.

    Args:
        G: returns-to-go [K, Q]; never negative for `maximum_likelihood`.
        drawn: the samples.
        baseline: `none`, `moving_average` and `value` take b from `expected`; `leave_one_out` from the samples.
        advantage: see above.
        expected: b, a number or [Q].

    Returns:
        float32 [K, Q], no gradient.
    """
    weights = drawn.weights
    if advantage == "maximum_likelihood":
        mean = (weights * G).sum(0)
        return weights * (th.where(mean > 0, G / mean.clamp(min=1e-12), 0.0) - 1.0)
    if baseline == "leave_one_out" and not drawn.independent:
        probability = drawn.log_probs.detach().exp()
        difference = G * (1 - probability + weights) - (weights * G).sum(0)
    elif baseline == "leave_one_out":
        difference = G - leave_one_out(G, weights)
    else:
        difference = G - expected
    if advantage == "normalized":
        difference = (difference - difference.mean()) / (difference.std(correction=0) + 1e-8)
    return weights * difference


def policy_gradient_loss(c: th.Tensor, drawn: Samples) -> th.Tensor:
    """−Σ_k c_k log π(a_k), the mean over positions: its gradient is minus the estimate."""
    return -(c * drawn.log_probs).sum(0).mean()


def gradient_variance(c: th.Tensor, drawn: Samples, log_probs: th.Tensor) -> float:
    """Sampling variance of the gradient estimate, with respect to the logits, as seen across its K samples.

    With g_k = K c_k (e_{a_k} − π), a sample's own estimate at a position, the variance of their mean is
    Σ_k |g_k − ḡ|² / (K (K−1)), here averaged over positions. (Baselines tie samples together, so it is itself an
    estimate; without replacement the samples repel each other and it is an upper bound.)

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
    return float(spread.clamp(min=0).mean() / (samples * (samples - 1)))


def kl_divergence(log_probs: th.Tensor, reference: th.Tensor) -> th.Tensor:
    """KL(π ‖ reference) in nats at each position, [Q, n], [Q, n] → [Q]."""
    return functional.kl_div(reference, log_probs, log_target=True, reduction="none").sum(-1)


def check_estimator(baseline: str, advantage: str, behaviour: str, samples: int) -> None:
    """Refuses names that don't exist and combinations that have no meaning.

    Raises:
        ValueError: naming the value and the way out.
    """
    for name, value, known in (
        ("baseline", baseline, get_args(Baseline)),
        ("advantage", advantage, get_args(Advantage)),
        ("behaviour", behaviour, get_args(Behaviour)),
    ):
        if value not in known:
            raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if baseline == "leave_one_out" and samples < 2 and advantage != "maximum_likelihood":
        raise ValueError(f"baseline 'leave_one_out' needs samples >= 2, got {samples}; or take another baseline")
