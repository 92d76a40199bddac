"""In-place steps along an estimated gradient, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch as th

from lm_gym.naming import check_choice

Rule = Literal["adam", "sgd", "momentum", "sign", "r_adazo"]
MOMENTS: dict[Rule, int] = {"adam": 2, "sgd": 0, "momentum": 1, "sign": 0, "r_adazo": 2}  # tensors kept by each rule
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Ascent:
    """Gradient ascent on tensors.

    There are five rules, with g the gradient, β₁ = 0.9 and β₂ = 0.999:

        sgd       θ ← θ + α g
        sign      θ ← θ + α sign(g)
        momentum  m ← β₁ m + (1 − β₁) g                                θ ← θ + α m
        adam      m as above, v ← β₂ v + (1 − β₂) g²                   θ ← θ + α m̂/(√v̂ + ε)
        r_adazo   m as above, v ← β₂ v + (1 − β₂) m²                   θ ← θ + α m̂/(√v̂ + ε)

    Adam: Kingma & Ba, 2015, algorithm 1. R-AdaZO (Shu et al., 2025, arXiv 2502.01014) uses the second moment of the
    smoothed gradient, which is less noisy; m̂ and v̂ are bias-corrected as in Adam. Each moment needs one more tensor.

    Args:
        rule: name of the rule.
        learning_rate: α.
        tensors: the tensors to move.
        decay: factor of α per step, in (0, 1].
    """

    def __init__(self, rule: Rule, learning_rate: float, tensors: Sequence[th.Tensor], decay: float = 1.0) -> None:
        check_choice("rule", rule, MOMENTS)
        self.rule, self.learning_rate, self.decay = rule, learning_rate, decay
        self.moments = [tuple(th.zeros_like(x) for _ in range(MOMENTS[rule])) for x in tensors]

    def rate(self, count: int, scale: float = 1.0) -> float:
        """Return α of step `count`, from 1, times `scale`."""
        return self.learning_rate * self.decay ** (count - 1) * scale

    def step(self, index: int, tensor: th.Tensor, gradient: th.Tensor, count: int, scale: float = 1.0) -> None:
        """Move one tensor in place.

        Args:
            index: index of the tensor.
            tensor: the tensor.
            gradient: its gradient; may be overwritten.
            count: number of this step, from 1.
            scale: one unit of the gradient's variables in units of the tensor, times the factor of a schedule.
        """
        alpha = self.rate(count, scale)
        if self.rule in ("sgd", "sign"):
            tensor.add_(gradient if self.rule == "sgd" else gradient.sign_(), alpha=alpha)
            return
        (beta1, beta2), (m, *second) = BETAS, self.moments[index]
        m.lerp_(gradient, 1 - beta1)
        if not second:
            tensor.add_(m, alpha=alpha)
            return
        v, measured = second[0], gradient if self.rule == "adam" else m
        v.mul_(beta2).addcmul_(measured, measured, value=1 - beta2)
        correction = math.sqrt(1 - beta2**count)  # m̂/(√v̂ + ε) = (correction/(1 − β₁ᵗ)) m/(√v + ε·correction)
        th.sqrt(v, out=gradient).add_(EPSILON * correction)
        tensor.addcdiv_(m, gradient, value=alpha * correction / (1 - beta1**count))

    def state(self) -> dict[str, Any]:
        """Return copies of the moments by name."""
        return {f"{name}_{i}": x.clone() for i, kept in enumerate(self.moments) for name, x in zip("mv", kept)}  # noqa: B905

    def load(self, state: dict[str, Any]) -> None:
        """Load the moments from a state."""
        for i, kept in enumerate(self.moments):
            for name, x in zip("mv", kept):  # noqa: B905  (as many as there are)
                x.copy_(state[f"{name}_{i}"])


class Anchor:
    """Decay towards the start: θ ← θ + λ (θ₀ − θ) before each step ("anchored decay", arXiv 2605.30148).

    Args:
        share: λ, in [0, 1). With 0, no copy is kept.
        tensors: θ₀, copied.
    """

    def __init__(self, share: float, tensors: Sequence[th.Tensor]) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"weight_decay={share}: give a share in [0, 1)")
        self.share = share
        self.start = [x.detach().clone() for x in tensors] if share else []

    def pull(self, index: int, tensor: th.Tensor) -> None:
        """Move one tensor in place."""
        if self.start:
            tensor.lerp_(self.start[index], self.share)

    def state(self) -> dict[str, Any]:
        """Return copies of the start."""
        return {f"start_{i}": x.clone() for i, x in enumerate(self.start)}

    def load(self, state: dict[str, Any]) -> None:
        """Load the start from a state."""
        for i, x in enumerate(self.start):
            x.copy_(state[f"start_{i}"])
