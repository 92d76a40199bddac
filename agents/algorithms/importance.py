"""Importance weights for samples that an older policy has drawn.

Shapes: K samples, Q positions.
"""

from __future__ import annotations

from dataclasses import replace

import torch as th

from lm_gym.agents.algorithms.behaviours import Samples


def importance_ratios(log_probs: th.Tensor, older: th.Tensor, wholes: th.Tensor | None = None) -> th.Tensor:
    """Compute ρ = π(a)/π_old(a), with which samples of an older policy estimate expectations of the current one.

    If a return depends on several choices, its ratio is the product over all of them.

    Args:
        log_probs: log π of the samples, [K, Q].
        older: log π_old of the samples, for the policy that drew them, [K, Q].
        wholes: int64 [Q], the text or episode of each position, if returns depend on whole ones; None if a return
            depends on the choice at its own position only.

    Returns:
        [K, Q], no gradient.
    """
    log_ratios = log_probs.detach() - older
    if wholes is not None:
        total = log_ratios.new_zeros((len(log_ratios), int(wholes.max()) + 1))
        log_ratios = total.index_add(1, wholes, log_ratios)[:, wholes]
    return log_ratios.exp()


def reweighted(drawn: Samples, ratios: th.Tensor, max_ratio: float) -> Samples:
    """Multiply the weights of samples by min(ρ, max_ratio).

    This is truncated importance sampling (Ionides 2008), whose bias is small while few ratios are above the bound, and
    whose variance is bounded. IMPALA (arXiv 1802.01561) calls the bound ρ̄. No gradient flows through the ratio, as in
    CISPO (arXiv 2506.13585), so every sample keeps teaching; PPO's clipping drops the gradient of some.

    Args:
        drawn: the samples, with the weights ω that suit the policy that drew them.
        ratios: ρ [K, Q].
        max_ratio: the bound, at least 1.
    """
    return replace(drawn, weights=drawn.weights * ratios.clamp(max=max_ratio))


def ratio_logs(ratios: th.Tensor, max_ratio: float) -> dict[str, th.Tensor]:
    """Return the mean and the largest ratio before truncation, and the share that is truncated, as scalars by tag."""
    return {
        "train/ratio_mean": ratios.mean(),
        "train/ratio_max": ratios.max(),
        "train/ratio_truncated": (ratios > max_ratio).double().mean(),
    }
