"""Sampling of choices from the policy, or from a wider behaviour policy with importance weights.

Shapes: K samples, Q positions, n choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch as th

from lm_gym.agents.model.finite import draw_choices

Behaviour = Literal["policy", "mixture", "unigram", "reference", "without_replacement"]


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


def draw(
    log_probs: th.Tensor,
    samples: int,
    behaviour: Behaviour = "policy",
    exploration: float = 0.3,
    wider: th.Tensor | None = None,
) -> Samples:
    """Draw `samples` choices at each position from a behaviour policy.

    `"policy"`: from π, ω = 1/K. `"mixture"`, `"unigram"`, `"reference"`: from the defensive mixture μ = (1−ε) π + ε w
    (Hesterberg 1995), importance-weighted, ω = π/(K μ); w is uniform, or the distribution `wider`.
    `"without_replacement"`: the top K of log π + Gumbel noise, ω = π(a) / P(a's noise beats the (K+1)-th), the
    unbiased weights of Kool, van Hoof & Welling (arXiv 1903.06059); K ≥ n enumerates all choices, ω = π.

    Args:
        log_probs: log π, float32 [Q, n]; -inf forbids a choice.
        samples: K ≥ 1; without replacement at most n are drawn.
        behaviour: see above.
        exploration: ε of the mixtures, in [0, 1].
        wider: w, probabilities [n] or [Q, n] (not normalised), for `"unigram"` and `"reference"`.
    """
    probs = log_probs.detach().exp()
    if behaviour == "without_replacement":
        return _draw_without_replacement(log_probs, samples)
    actions = draw_choices(probs, samples).T  # [K, Q]
    if behaviour == "policy":
        weights = probs.new_full(actions.shape, 1.0 / samples)
        return Samples(actions, log_probs.gather(1, actions.T).T, weights)
    w = probs.new_ones(probs.shape) if wider is None else wider.expand_as(probs)
    w = w.masked_fill(log_probs.detach() == float("-inf"), 0.0)
    explored = th.multinomial(w, samples, replacement=True).T
    actions = th.where(th.rand(actions.shape, device=actions.device) < exploration, explored, actions)
    probability = probs.gather(1, actions.T).T
    behind = (1 - exploration) * probability + exploration * w.gather(1, actions.T).T / w.sum(-1)
    return Samples(actions, log_probs.gather(1, actions.T).T, probability / behind / samples)


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
    if threshold is not None:
        weights = weights / inclusion(chosen, threshold)
    return Samples(actions.T, log_probs.gather(1, actions).T, weights.T, independent=False)


def inclusion(log_probs: th.Tensor, threshold: th.Tensor) -> th.Tensor:
    """Compute P(log π + Gumbel > κ) = 1 − exp(−exp(log π − κ))."""
    return -th.expm1(-(log_probs - threshold).exp())


def weights_of_distinct(log_probs: th.Tensor) -> th.Tensor:
    """Compute the weights ω of K different choices that were drawn without replacement, from their own log π only.

    The threshold κ of the draw (see `draw`) is estimated as the value with Σ_k ω_k = 1, found by bisection; for the
    true threshold, the sum is 1 in expectation. If the samples are all choices that exist, ω = π.

    Args:
        log_probs: log π of the choices, float [K, Q], without a gradient.

    Returns:
        [K, Q]; they sum to 1 at each position, or to less if the known choices have a lower total probability.
    """
    known = log_probs.double()
    low = known.amin(0) - 40.0  # below this value, every choice is certainly included
    high = known.amax(0) + 40.0
    for _ in range(60):
        middle = (low + high) / 2
        heavy = (known.exp() / inclusion(known, middle)).sum(0) > 1.0
        low, high = th.where(heavy, low, middle), th.where(heavy, middle, high)
    return (known.exp() / inclusion(known, low)).to(log_probs.dtype)
