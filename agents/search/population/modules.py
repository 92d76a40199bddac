"""Modules of a language model whose rows belong to members of a population with different weights.

If a member's matrix is the live matrix plus a low-rank term, members share one product, and the term costs about one
more read of the rows. Otherwise, each member needs its own product.
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
_CACHED = 2**20  # numbers of float32 in the cache of one core: 4 MiB


@dataclass(frozen=True)
class Ragged:
    """Members that decide different numbers of positions, and their places in [p, m], m the most of any of them.

    Attributes:
        padded: int64 [p·m], the index among all A positions of the position at each place; 0 for empty places.
        places: int64 [A], the place of each position.
    """

    padded: th.Tensor
    places: th.Tensor

    @classmethod
    def of(cls, counts: Sequence[int], device: th.device) -> Ragged:
        """Create the places of consecutive members from the number of positions that each decides."""
        lengths = th.tensor(counts)
        columns = th.arange(int(lengths.max()))
        inside = columns < lengths[:, None]  # [p, m]
        places = inside.flatten().nonzero().squeeze(1)
        padded = th.zeros(inside.numel(), dtype=th.int64)
        padded[places] = th.arange(len(places))
        return cls(padded.to(device), places.to(device))


@dataclass(frozen=True)
class Layout:
    """The assignment of rows to members.

    Attributes:
        members: p.
        texts: k, texts of each member, or the parts of these texts that a model reads separately; the encoder runs p·k
            rows, member by member.
        shared: number of rows that the head gets while they are still equal for all members; -1 if there are none.
        ragged: the rows of the head if members read different texts, because the number of rows then differs. None:
            all members read the same texts.
    """

    members: int
    texts: int
    shared: int = -1
    ragged: Ragged | None = None

    def by_member(self, x: th.Tensor) -> th.Tensor:
        """Return rows [*, d] as [p, m, d]; shared rows are repeated without a copy, and missing rows are filled."""
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
        """Return whether the rows are those of the head, and their number differs between members."""
        if self.ragged is None or self.members * self.texts == 1:
            return False
        return x.dim() == 3 and len(x) == 1 and x.shape[1] == len(self.ragged.places)


def linear(
    layout: Layout, module: nn.Linear | Conv1D, weight: Change | None, bias: Own | None, x: th.Tensor
) -> th.Tensor:
    """Return the product x Wᵀ + b with each member's W and b (Conv1D: x W + b).

    If there is a low-rank term, it is written to the output first, together with the bias, and the shared product is
    added to it: (x B) Aᵀ + b, then += x Wᵀ. The term therefore needs no additional pass over the output.
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
    """Multiply each set of rows [s, n, d] by its B [s, d, r]; return [s, r, n].

    Batches of products with a single column are slow on CPUs. There, a sum of products is about twice as fast while the
    products fit in the cache, and one product of a matrix and a vector per set otherwise.
    """
    sets, n, width = rows.shape
    if B.shape[2] > 1 or rows.device.type != "cpu":
        return th.bmm(B.mT, rows.mT)
    if sets * n * width <= _CACHED:
        return (rows * B.mT).sum(-1)[:, None]
    out = rows.new_empty(sets, n)
    for x, b, into in zip(rows.unbind(), B.squeeze(2).unbind(), out.unbind(), strict=True):
        th.mv(x, b, out=into)
    return out[:, None]


def _low_rank(xB: th.Tensor, steps: th.Tensor, At: th.Tensor, base: th.Tensor | None) -> th.Tensor:
    """Return base + steps · (x B) Aᵀ, [p, m, out].

    Args:
        xB: [p/c, r, c, m], or [p/c, r, 1, m] if the c members that share factors also share their rows.
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
    """Return whether [p, m, d] are m rows that all members share."""
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
    """Apply layer normalisation with each member's weight and bias."""
    normal = layout.by_member(F.layer_norm(x, module.normalized_shape, None, None, module.eps))
    w = module.weight if weight is None else weight.whole()[:, None]  # [d] or [p, 1, d]
    b = module.bias if bias is None else bias.whole()[:, None]
    return layout.rows(normal * w if b is None else th.addcmul(b, normal, w), x)


def embedding(layout: Layout, module: nn.Embedding, weight: Change, _: None, ids: th.Tensor) -> th.Tensor:
    """Return rows of each member's matrix, for ids [p·k, L], or [1, L] if all texts share them."""
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
    """Return rows [p, m, H] of each member's matrix, for the ids [p, m] of that member."""
    if isinstance(weight, Own):
        return weight.own_rows(ids)
    sets = len(weight.A)
    which = th.arange(sets, device=ids.device)[:, None]
    rows = weight.A[which, ids.reshape(sets, -1)]  # [p/c, c·m, r]
    xB = rows.mT.reshape(sets, rows.shape[2], -1, ids.shape[1])
    return _low_rank(xB, weight.steps, weight.B.mT, F.embedding(ids, module.weight))


def scaling(layout: Layout, module: nn.Module, weight: Own, _: None, x: th.Tensor) -> th.Tensor:
    """Apply a module that scales its output by a vector, such as RMSNorm: f(x, w) = f(x, 0) + w · (f(x, 1) - f(x, 0)).

    This form works for modules that multiply by w and for those that multiply by 1 + w.
    """
    live: Any = module.weight
    zero, one = (
        layout.by_member(functional_call(_ByClass(module), {"module.weight": values}, (x,)))
        for values in (th.zeros_like(live), th.ones_like(live))
    )
    return layout.rows(th.addcmul(zero, weight.whole()[:, None], one - zero), x)


class _ByClass(nn.Module):
    """A module that calls the forward of its class, even if an attribute shadows it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: th.Tensor) -> Any:
        return type(self.module).forward(self.module, x)


def batched_forward(module: nn.Module) -> Forward | None:
    """Return the function that replaces the forward of a module whose rows belong to members; None if none is known."""
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
