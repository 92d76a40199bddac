"""The search space of masks of attention heads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import nn
from transformers.pytorch_utils import Conv1D

from lm_gym.agents.model.layers import encoder_layers
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.forward import answering, read_together
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces.space import SearchSpace, require_language_model
from lm_gym.bounds import NonNegativeFloat
from lm_gym.tasks import METRICS, Metric

METRICS.register("heads_kept", Metric("heads_kept", "heads kept"))
_OUTPUTS = (
    *("attention.output.dense", "attention.out_lin", "attn.c_proj"),  # BERT and similar models, DistilBERT, GPT-2
    *(
        "self_attn.o_proj",
        "self_attn.dense",
        "attention.dense",
        "self_attention.dense",
    ),  # Llama and similar models, Phi, NeoX, Bloom
    *("attn.Wo", "attention.attn.o"),  # ModernBERT, MPNet
)


class HeadMask(SearchSpace):
    """A bit for each attention head, layer by layer; True keeps the head (Michel et al. 2019).

    A head is removed by zeroing its part of the attention's output projection, so the result is an ordinary checkpoint.

    Args:
        policy: an LMPolicy.
        price: cost of keeping all heads in units of fitness; a member pays in proportion to the heads it keeps.

    Raises:
        TypeError: the policy is not an LMPolicy.
        ValueError: the output projection of a layer is unknown, or the price is negative.
    """

    def __init__(self, policy: nn.Module, *, price: NonNegativeFloat = 0.0) -> None:
        self.policy = require_language_model(policy, "head_mask")
        self._price = price
        self._outputs = _find_outputs(self.policy)
        self._heads = int(self.policy.network.config.num_attention_heads)
        self.domain = Domain("binary", len(self._outputs) * self._heads, 2)
        self._origin: list[th.Tensor] | None = None
        self.check_batching()

    def initial(self) -> th.Tensor:
        """Return the mask that keeps every head."""
        return th.ones(self.domain.dim, dtype=th.bool, device=self.policy.device)

    def write(self, vector: th.Tensor) -> None:
        """See SearchSpace."""
        with th.inference_mode(False), th.no_grad():
            if self._origin is None:
                self._origin = [module.weight.detach().clone() for module in self._outputs]
            for module, origin, kept in zip(self._outputs, self._origin, vector.view(-1, self._heads), strict=True):
                inputs = kept.repeat_interleave(_inputs(module) // self._heads).to(origin.dtype)
                module.weight.detach().copy_(origin * (inputs[:, None] if isinstance(module, Conv1D) else inputs))

    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        live = [module.weight for module in self._outputs]
        weights = [weight.to(own.dtype) for weight, own in zip(self._origin or live, live, strict=True)]

        def evaluate(chunk: slice) -> th.Tensor:
            kept = population.vectors(chunk).view(-1, len(self._outputs), self._heads)  # [p, layers, heads]
            forwards = {
                module: partial(_masked, module, weight, kept[:, layer])
                for layer, (module, weight) in enumerate(zip(self._outputs, weights, strict=True))
            }
            with answering(forwards):
                return read_together(self.policy, reading, chunk)

        return evaluate

    def cost(self, population: Population) -> th.Tensor | None:
        """See SearchSpace."""
        return self._price * population.vectors().double().mean(1) if self._price else None

    def summary(self) -> dict[str, float]:
        """Return `heads_kept`, the fraction of heads whose part of the output projection is not zero."""
        kept = [_by_head(module, self._heads).any(1) for module in self._outputs]
        return {"heads_kept": th.cat(kept).double().mean().item()}

    def state_dict(self) -> dict[str, Any]:
        """Return the original projections, once heads have been removed."""
        return {} if self._origin is None else {"origin": list(self._origin)}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Load a `state_dict`; `strict` exists for Stable-Baselines3."""
        device = self.policy.device
        self._origin = [tensor.to(device) for tensor in state["origin"]] if "origin" in state else None


def _masked(module: nn.Linear | Conv1D, weight: th.Tensor, kept: th.Tensor, x: th.Tensor) -> th.Tensor:
    """Project x [p·B, L, heads·size] with only the heads that members keep, [p, heads]."""
    by_head = x.reshape(len(kept), -1, kept.shape[1], x.shape[-1] // kept.shape[1])
    x = (by_head * kept[:, None, :, None]).view(x.shape)
    return F.linear(x, weight.T if isinstance(module, Conv1D) else weight, module.bias)


def _by_head(module: nn.Linear | Conv1D, heads: int) -> th.Tensor:
    """Return the projection's weights by head, [heads, *]."""
    weight = module.weight if isinstance(module, Conv1D) else module.weight.T
    return weight.detach().reshape(heads, -1)


def _find_outputs(policy: LMPolicy) -> list[Any]:
    found = []
    for number, layer in enumerate(encoder_layers(policy.network)):
        modules = dict(layer.named_modules())
        names = [name for name in _OUTPUTS if name in modules]
        if not names:
            raise ValueError(
                f"head_mask does not find the attention's output projection in layer {number} of "
                f"{type(policy.network).__name__}: it looked for {', '.join(_OUTPUTS)}"
            )
        found.append(modules[names[0]])
    return found


def _inputs(module: nn.Linear | Conv1D) -> int:
    return int(module.weight.shape[0 if isinstance(module, Conv1D) else 1])
