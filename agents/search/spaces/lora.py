"""The search space of low-rank terms added to matrices (LoRA)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch as th
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.changes import LowRank
from lm_gym.agents.search.population.domain import Domain
from lm_gym.agents.search.population.forward import PopulationForward
from lm_gym.agents.search.population.population import Dense, Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces.parameters import first_unbatched
from lm_gym.agents.search.spaces.space import SearchSpace, require_language_model
from lm_gym.bounds import NonNegativeInt, PositiveFloat, PositiveInt

_ATTENTION = (
    *("*query", "*value", "*query_proj", "*value_proj", "*q_lin", "*v_lin", "*q_proj", "*v_proj"),
    *("*attn.c_attn", "*.Wqkv", "*attn.q", "*attn.v", "*q_head", "*v_head"),  # …, MPNet, Funnel
)


class LoRA(SearchSpace):
    """W' = W + L R for selected matrices, with L [out, r] and R [r, in] (Hu et al. 2021), merged into the weights.

    At v = 0, L is zero and R is random, fixed by the seed, so the policy is unchanged. Moving L changes the policy at
    once; moving R changes it only after L has moved. One unit of an entry is `scale`/√r in L and `scale`/√in in R.

    Args:
        policy: an LMPolicy.
        rank: r.
        targets: glob patterns over the names of Linear (or GPT-2's Conv1D) modules; by default the attention's query
            and value projections.
        factors: `"both"` to search both factors, or `"output"` to search only L with a fixed random R.
        scale: one unit of the vector.
        seed: seed of R.

    Raises:
        TypeError: the policy is not an LMPolicy.
        ValueError: patterns match no such module, the rank is out of range, or the factors give no signal.
    """

    def __init__(
        self,
        policy: nn.Module,
        *,
        rank: PositiveInt = 4,
        targets: Sequence[str] = _ATTENTION,
        factors: str = "both",
        scale: PositiveFloat = 0.3,
        seed: NonNegativeInt = 0,
    ) -> None:
        self.policy = require_language_model(policy, "lora")
        if factors == "input":
            raise ValueError(
                "factors='input' gives no signal: the output factor would stay zero, and so would every member's "
                "change; search 'output' or 'both'"
            )
        if factors not in ("both", "output"):
            raise ValueError(f"factors={factors!r} is neither 'both' nor 'output'")
        self._modules = _find_targets(self.policy, targets)
        self._rank, self._both, self._scale = rank, factors == "both", scale
        self._shapes = [_inputs_outputs(module) for module in self._modules.values()]
        least = min(min(shape) for shape in self._shapes)
        if rank > least:
            raise ValueError(f"rank={rank}: the smallest side of a chosen matrix is {least}, give 1 to {least}")
        generator = th.Generator().manual_seed(seed)
        self._start = [
            (th.randn(rank, inputs, generator=generator) / math.sqrt(inputs)).to(self.policy.device)
            for inputs, _ in self._shapes
        ]
        self._sizes = [rank * (out + self._both * inputs) for inputs, out in self._shapes]
        self.domain = Domain("real", sum(self._sizes))
        self._vector = self.initial()
        self._origin: list[th.Tensor] | None = None
        self._forward = PopulationForward(self.policy, self._weights())
        self.check_batching()

    def _weights(self) -> dict[str, nn.Parameter]:
        return {f"{name}.weight": module.weight for name, module in self._modules.items()}

    def initial(self) -> th.Tensor:
        """Return zeros."""
        return th.zeros(self.domain.dim, device=self.policy.device)

    def factors(self, vectors: th.Tensor) -> list[tuple[th.Tensor, th.Tensor]]:
        """Return L [p, out, r] and R [p, r, in] of each matrix, for vectors [p, d]."""
        found = []
        for part, start, (inputs, out) in zip(
            th.split(vectors, self._sizes, 1), self._start, self._shapes, strict=True
        ):
            r = self._rank
            L = part[:, : r * out].view(-1, out, r) * (self._scale / math.sqrt(r))
            R = start.expand(len(part), r, inputs)
            if self._both:
                R = R + part[:, r * out :].view(-1, r, inputs) * (self._scale / math.sqrt(inputs))
            found.append((L, R))
        return found

    def write(self, vector: th.Tensor) -> None:
        """See SearchSpace."""
        with th.inference_mode(False), th.no_grad():
            if self._origin is None:
                self._origin = [module.weight.detach().clone() for module in self._modules.values()]
            self._vector = vector.clone()
            for module, origin, (L, R) in zip(
                self._modules.values(), self._origin, self.factors(vector[None]), strict=True
            ):
                change = L[0] @ R[0]
                module.weight.detach().copy_(origin + (change.T if isinstance(module, Conv1D) else change))

    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        run = self._forward.share(reading)
        live = [module.weight for module in self._modules.values()]
        bases = [base.to(weight.dtype) for base, weight in zip(self._origin or live, live, strict=True)]

        def evaluate(chunk: slice) -> th.Tensor:
            changes = []
            for module, base, (L, R) in zip(
                self._modules.values(), bases, self.factors(population.vectors(chunk)), strict=True
            ):
                L, Rt = L.to(module.weight.dtype), R.mT.to(module.weight.dtype)
                A, B = (Rt, L) if isinstance(module, Conv1D) else (L, Rt)
                changes.append(LowRank(A, B, L.new_ones(len(L)), base))
            return run(changes, chunk)

        return evaluate

    def _trial(self, members: int = 2) -> Population:
        """Return factors of the size of a new matrix."""
        return Dense(super()._trial(members).vectors() / self._scale)

    def _culprit(self) -> str:
        return first_unbatched(self.policy, self._weights())

    def state_dict(self) -> dict[str, Any]:
        """Return the matrices before the merge, and the merged vector."""
        return {} if self._origin is None else {"origin": list(self._origin), "vector": self._vector}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Load a `state_dict`; `strict` exists for Stable-Baselines3."""
        device = self.policy.device
        self._origin = [tensor.to(device) for tensor in state["origin"]] if "origin" in state else None
        self._vector = state["vector"].to(device) if "vector" in state else self.initial()

    def save_adapter(self, folder: str | Path) -> None:
        """Write the factors as PEFT's LoraConfig and weights, for the model at the start of the search."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for name, (L, R) in zip(self._modules, self.factors(self._vector[None]), strict=True):
            tensors[f"base_model.model.{name}.lora_A.weight"] = R[0].contiguous().cpu()
            tensors[f"base_model.model.{name}.lora_B.weight"] = L[0].contiguous().cpu()
        save_file(tensors, folder / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "r": self._rank,
            "lora_alpha": self._rank,  # PEFT scales by alpha/r
            "target_modules": list(self._modules),
            "fan_in_fan_out": any(isinstance(module, Conv1D) for module in self._modules.values()),
            "bias": "none",
        }
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _find_targets(policy: LMPolicy, patterns: Sequence[str]) -> dict[str, Any]:
    modules = {name: module for name, module in policy.network.named_modules() if type(module) in (nn.Linear, Conv1D)}
    chosen = {name: m for name, m in modules.items() if any(fnmatch(name, pattern) for pattern in patterns)}
    if not chosen:
        raise ValueError(f"targets={list(patterns)} match no linear module; there are {', '.join(modules)}")
    return chosen


def _inputs_outputs(module: nn.Linear | Conv1D) -> tuple[int, int]:
    first, second = module.weight.shape
    return (int(first), int(second)) if isinstance(module, Conv1D) else (int(second), int(first))
