"""Checks that weights, and the probabilities that they give, are finite."""

from __future__ import annotations

import torch as th
from torch import nn


def require_finite(model: nn.Module, when: str) -> None:
    """Refuse a model with a weight that is NaN or infinite.

    Args:
        model: the model.
        when: ends the message's first clause, such as "after update 3".

    Raises:
        FloatingPointError: a weight is not finite; the message names it and says what to do.
    """
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.is_floating_point()}
    if bool(th.nn.utils.get_total_norm(weights.values()).isfinite()):  # fast, but overflows in float16, so check again
        return
    lost = [(name, weight) for name, weight in weights.items() if not weight.isfinite().all()]
    if not lost:
        return
    name, weight = lost[0]
    kind = "NaN" if weight.isnan().any() else "infinite"
    way_out = "lower learning_rate"
    if weight.dtype == th.float16:
        way_out = "use policy.dtype bfloat16 or float32 (Adam's epsilon is 0 in float16), or lower learning_rate"
    raise FloatingPointError(f"the weights are {kind} {when} ({name}): {way_out}")


def draw_choices(probs: th.Tensor, times: int) -> th.Tensor:
    """Draw choices from distributions, independently.

    Args:
        probs: probabilities, float32 [Q, n].
        times: number of choices of each distribution.

    Returns:
        Choices, int64 [Q, times].

    Raises:
        FloatingPointError: a probability is NaN, because the model computes no numbers. On a GPU, torch stops instead.
    """
    try:
        return th.multinomial(probs, times, replacement=True)
    except RuntimeError as error:
        if probs.isfinite().all():
            raise
        raise FloatingPointError("the probabilities of choices are NaN: lower learning_rate") from error
