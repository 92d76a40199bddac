"""Modules of a language model whose rows belong to members of a population, each with weights of its own.

A shared product where a member's matrix is the live one plus a low-rank term, whose cost is that of the rows read once
more, and a product of its own where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch as th
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from lm_gym.agents.search.population.changes import Change, LowRank, Own

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Ragged:
    """Members that decide different numbers of positions, and their places in [p, m], m the most of any of them.

    Attributes:
        padded: int64 [p·m], which of all A positions stands at each place; the first where none does.
        places: int64 [A], the place of each position.
    """

    padded: th.Tensor
    places: th.Tensor

    @classmethod
    def of(cls, counts: Sequence[int], device: th.device) -> Ragged:
        """Of members that decide so many positions each, one after another."""
        lengths = th.tensor(counts)
        columns = th.arange(int(lengths.max()))
        inside = columns < lengths[:, None]  # [p, m]
        places = inside.flatten().nonzero().squeeze(1)
        padded = th.zeros(inside.numel(), dtype=th.int64)
        padded[places] = th.arange(len(places))
        return cls(padded.to(device), places.to(device))


@dataclass(frozen=True)
class Layout:
    """How rows belong to members.

    Attributes:
        members: p.
        texts: k of each member; the encoder runs p·k rows, member by member.
        shared: rows that the head is given while they are still the same for all members; -1: none are.
        ragged: where each member reads texts of its own: the rows of the head, whose numbers differ. None: all members
            read the same texts.
    """

    members: int
    texts: int
    shared: int = -1
    ragged: Ragged | None = None

    def by_member(self, x: th.Tensor) -> th.Tensor:
        """Rows [*, d] as [p, m, d]; those that all members share are repeated without a copy, missing ones filled."""
        flat = x.reshape(-1, x.shape[-1])
        if len(flat) == self.shared:
            return flat.expand(self.members, *flat.shape)
        if self._in_head(x):
            assert self.ragged is not None
            flat = flat[self.ragged.padded]
        return flat.view(self.members, -1, flat.shape[-1])

    def rows(self, out: th.Tensor, x: th.Tensor) -> th.Tensor:
        """[p, m, d] as the module's output for input `x`: [p·k, L, d] in the encoder, [1, A, d] in the head."""
        if self.shared >= 0:
            return out.reshape(1, -1, out.shape[-1])
        if self._in_head(x):
            assert self.ragged is not None
            return out.view(-1, out.shape[-1])[self.ragged.places][None]
        return out.view(*x.shape[:-1], out.shape[-1])

    def _in_head(self, x: th.Tensor) -> bool:
        """Whether rows are those of the head, of different numbers for each member."""
        if self.ragged is None or self.members * self.texts == 1:
            return False
        return x.dim() == 3 and len(x) == 1 and x.shape[1] == len(self.ragged.places)


def linear(
    layout: Layout, module: nn.Linear | Conv1D, weight: Change | None, bias: Own | None, x: th.Tensor
) -> th.Tensor:
    """The product x Wᵀ + b with each member's W and b (Conv1D: x W + b).

    A low-rank term on top of a shared matrix is written into the output first, where the bias would be, and the shared
    product added onto it: (x B) Aᵀ + b, then += x Wᵀ. So it costs no pass of its own over the output.
    """
    xs = layout.by_member(x)  # [p, m, in]
    W: th.Tensor = weight.base if isinstance(weight, LowRank) and weight.base is not None else module.weight
    W = W if isinstance(module, Conv1D) else W.T  # [in, out]
    b: th.Tensor | None = module.bias
    if bias is not None:
        b = bias.whole()[:, None]  # [p, 1, out]
    if isinstance(weight, Own):
        out = _own_product(xs, weight, isinstance(module, Conv1D), W.shape[1])
        return layout.rows(out if b is None else out.add_(b), x)
    shape = (*xs.shape[:2], W.shape[1])
    if isinstance(weight, LowRank):
        inner, outer = (weight.A, weight.B) if isinstance(module, Conv1D) else (weight.B, weight.A)
        sets = len(inner)  # of factors, p/c
        rows = xs[:sets] if _are_the_same(xs) else xs.view(sets, -1, xs.shape[2])
        xB = _rows_times(rows, inner).view(sets, inner.shape[2], -1, xs.shape[1])
        out = _low_rank(xB, weight.steps, outer.mT, b)
    else:
        out = xs.new_zeros(shape) if b is None else b.expand(shape).clone()
    if _are_the_same(xs):
        out += xs[0] @ W
    else:
        out.view(-1, shape[2]).addmm_(xs.reshape(-1, xs.shape[2]), W)
    return layout.rows(out, x)


def _rows_times(rows: th.Tensor, B: th.Tensor) -> th.Tensor:
    """Sets of rows [s, n, d] by each set's B [s, d, r], as [s, r, n]."""
    _, width, rank = B.shape
    if rank == 1 and (rows.shape[1] >= 256 or width >= 512):  # torch's batched product is slower than its matrix-vector
        return th.stack([th.mv(x, b[:, 0]) for x, b in zip(rows, B, strict=True)])[:, None]
    return th.bmm(B.mT, rows.mT)


def _low_rank(xB: th.Tensor, steps: th.Tensor, At: th.Tensor, base: th.Tensor | None) -> th.Tensor:
    """The sum base + steps · (x B) Aᵀ, [p, m, out].

    Args:
        xB: [p/c, r, c, m], or [p/c, r, 1, m] where the c members that share factors share their rows too.
        steps: [p].
        At: [p/c, r, out].
        base: [out], [m, out] or [p, 1, out]; None: zero.
    """
    sets, rank, _, rows = xB.shape
    xB = xB * steps.view(sets, 1, -1, 1)
    if rank > 1:
        product = th.bmm(xB.flatten(2).mT, At).view(len(steps), rows, -1)
        return product if base is None else product.add_(base)
    factors = xB[:, 0, :, :, None], At[:, None]  # [p/c, c, m, 1], [p/c, 1, 1, out]
    if base is None:
        return th.mul(*factors).view(len(steps), rows, -1)
    if base.dim() == 3:
        base = base.view(sets, -1, *base.shape[1:])
    return th.addcmul(base, *factors).view(len(steps), rows, -1)


def _are_the_same(xs: th.Tensor) -> bool:
    """Whether [p, m, d] are m rows that all members share."""
    return len(xs) > 1 and xs.stride(0) == 0


def _own_product(xs: th.Tensor, weight: Own, rows_are_inputs: bool, outputs: int) -> th.Tensor:
    out = xs.new_zeros(*xs.shape[:2], outputs) if rows_are_inputs else xs.new_empty(*xs.shape[:2], outputs)
    for rows, values in weight.slabs():  # [p, k, ·]
        if rows_are_inputs:
            out.baddbmm_(xs[:, :, rows], values)
        elif _are_the_same(xs):
            product = xs[0] @ values.reshape(-1, values.shape[2]).T  # [m, p·k]
            out[:, :, rows] = product.view(len(product), len(xs), -1).transpose(0, 1)
        else:
            out[:, :, rows] = th.bmm(xs, values.mT)
    return out


def layer_norm(layout: Layout, module: nn.LayerNorm, weight: Own | None, bias: Own | None, x: th.Tensor) -> th.Tensor:
    """Layer normalisation with each member's weight and bias."""
    normal = layout.by_member(F.layer_norm(x, module.normalized_shape, None, None, module.eps))
    w = module.weight if weight is None else weight.whole()[:, None]  # [d] or [p, 1, d]
    b = module.bias if bias is None else bias.whole()[:, None]
    return layout.rows(normal * w if b is None else th.addcmul(b, normal, w), x)


def embedding(layout: Layout, module: nn.Embedding, weight: Change, _: None, ids: th.Tensor) -> th.Tensor:
    """Rows of each member's matrix, for ids [p·k, L], or [1, L] where all texts share them."""
    if layout.ragged is not None and len(ids) > 1:
        return _own_embedding(weight, module, ids.reshape(layout.members, -1)).view(*ids.shape, -1)
    one = ids[: max(1, len(ids) // layout.members)]  # [k or 1, L]
    if isinstance(weight, LowRank):
        rows = weight.A[:, one.flatten()]  # [p/c, ·, r]
        base = F.embedding(one.flatten(), module.weight)
        out = _low_rank(rows.mT[:, :, None], weight.steps, weight.B.mT, base)
    else:
        numbers, inverse = th.unique(one, return_inverse=True)
        out = weight.rows(numbers)[:, inverse.flatten()]
    out = out.view(layout.members, *one.shape, -1)
    return out.expand(-1, layout.texts, -1, -1).reshape(-1, *out.shape[2:])  # [p·k, L, H]


def _own_embedding(weight: Change, module: nn.Embedding, ids: th.Tensor) -> th.Tensor:
    """Rows [p, m, H] of each member's matrix, for ids [p, m] of its own."""
    if isinstance(weight, Own):
        return weight.own_rows(ids)
    sets = len(weight.A)
    which = th.arange(sets, device=ids.device)[:, None]
    rows = weight.A[which, ids.reshape(sets, -1)]  # [p/c, c·m, r]
    xB = rows.mT.reshape(sets, rows.shape[2], -1, ids.shape[1])
    return _low_rank(xB, weight.steps, weight.B.mT, F.embedding(ids, module.weight))


def scaling(layout: Layout, module: nn.Module, weight: Own, _: None, x: th.Tensor) -> th.Tensor:
    """A module of one vector that scales its output (RMSNorm and its kin): f(x, w) = f(x, 0) + w · (f(x, 1) - f(x, 0)).

    So it serves those that multiply by w and those that multiply by 1 + w.
    """
    live: Any = module.weight
    zero, one = (
        layout.by_member(functional_call(_ByClass(module), {"module.weight": values}, (x,)))
        for values in (th.zeros_like(live), th.ones_like(live))
    )
    return layout.rows(th.addcmul(zero, weight.whole()[:, None], one - zero), x)


class _ByClass(nn.Module):
    """A module by its class's own forward, whatever shadows it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: th.Tensor) -> Any:
        return type(self.module).forward(self.module, x)


def batched_forward(module: nn.Module) -> Forward | None:
    """The function that answers for a module whose rows belong to members, None where none is known."""
    if type(module) in FORWARDS:
        return FORWARDS[type(module)]
    own = dict(module.named_parameters())
    return scaling if own.keys() == {"weight"} and own["weight"].dim() == 1 else None


FORWARDS: dict[type[nn.Module], Forward] = {
    nn.Linear: linear,
    Conv1D: linear,
    nn.LayerNorm: layer_norm,
    nn.Embedding: embedding,
}
