"""Steps along an estimated gradient, tensor by tensor and in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch as th

from lm_gym.naming import check_choice

Rule = Literal["adam", "sgd"]
RULES: tuple[Rule, ...] = ("adam", "sgd")
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Ascent:
    """Gradient ascent on tensors: θ ← θ + α g, or Adam (Kingma & Ba, 2015, algorithm 1).

    Adam's moments cost twice the memory of what is moved; plain steps cost none.

    Args:
        rule: `"adam"` or `"sgd"`.
        learning_rate: α.
        tensors: what will be moved.
        decay: share of α that is left after each step, in (0, 1].
    """

    def __init__(self, rule: Rule, learning_rate: float, tensors: Sequence[th.Tensor], decay: float = 1.0) -> None:
        check_choice("rule", rule, RULES)
        self.rule, self.learning_rate, self.decay = rule, learning_rate, decay
        kept = tensors if rule == "adam" else []
        self.moments = [(th.zeros_like(x), th.zeros_like(x)) for x in kept]

    def step(self, index: int, tensor: th.Tensor, gradient: th.Tensor, count: int, scale: float = 1.0) -> None:
        """Move one tensor in place.

        Args:
            index: its number.
            tensor: it.
            gradient: of its shape; may be overwritten.
            count: number of this step, from 1.
            scale: one unit of the gradient's variables in those of the tensor.
        """
        alpha = self.learning_rate * self.decay ** (count - 1) * scale
        if self.rule == "sgd":
            tensor.add_(gradient, alpha=alpha)
            return
        (beta1, beta2), (m, v) = BETAS, self.moments[index]
        m.lerp_(gradient, 1 - beta1)
        v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        correction = math.sqrt(1 - beta2**count)  # m̂/(√v̂ + ε) = (correction/(1 − β₁ᵗ)) m/(√v + ε·correction)
        th.sqrt(v, out=gradient).add_(EPSILON * correction)
        tensor.addcdiv_(m, gradient, value=alpha * correction / (1 - beta1**count))

    def state(self) -> dict[str, Any]:
        """Copies of the moments, by name."""
        return {f"{name}_{i}": x.clone() for i, (m, v) in enumerate(self.moments) for name, x in (("m", m), ("v", v))}

    def load(self, state: dict[str, Any]) -> None:
        """Take the moments out of a state."""
        for i, (m, v) in enumerate(self.moments):
            m.copy_(state[f"m_{i}"])
            v.copy_(state[f"v_{i}"])
