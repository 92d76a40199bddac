"""Estimates of the likelihood of a text that was filled in step by step, for texts whose order does not matter.

The exact likelihood of a trajectory needs one forward pass for each of its steps. Reinforcement learning of masked
diffusion models replaces it by an estimate of log p(tokens) that needs a few passes and ignores the order:

* `one_step`: all positions at once, given none of them, Σ_i log p(x_i | nothing) ("mean-field"; Zhao et al., d1,
  arXiv 2504.12216).
* `elbo`: (c / m) Σ_{i in S} log p(x_i | the others), for random sets S of m positions, with m uniform on 1 … c (the
  bound of Sahoo et al., arXiv 2406.07524).
* `coupled`: each random set together with its complement, so that every position counts once in each pair, and one pass
  with nothing given; the mean of these passes (Gong et al., DiffuCoder, arXiv 2506.20639).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch as th

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation

Likelihood = Literal["exact", "one_step", "elbo", "coupled"]


class MaskedPasses(NamedTuple):
    """Forward passes over texts, with some of their positions masked.

    Attributes:
        masked: bool [M, N, T], the positions masked in each pass.
        weights: float32 [M, N], weight of the log-probabilities of a pass.
        counted: bool [M, N, T], the masked positions that count in each pass; None for all.
    """

    masked: th.Tensor
    weights: th.Tensor
    counted: th.Tensor | None = None


def passes(kind: Likelihood, inside: th.Tensor, draws: int) -> MaskedPasses:
    """Draw the passes of an estimate.

    Args:
        kind: the estimate, except `exact`.
        inside: bool [N, T], the positions of the texts.
        draws: number of random sets; `one_step` draws none.
    """
    ones = th.ones(1, len(inside), device=inside.device)
    if kind == "one_step":
        return MaskedPasses(inside[None], ones)
    counts = inside.sum(1)  # c, [N]
    size = 1 + (th.rand(draws, len(inside), device=inside.device) * counts).long()  # m, [M, N]
    noise = th.rand(draws, *inside.shape, device=inside.device).masked_fill(~inside, 2.0)
    chosen = noise.argsort(-1).argsort(-1) < size[..., None]
    if kind == "elbo":
        return MaskedPasses(chosen, counts / size / draws)
    masked = th.cat([chosen, inside & ~chosen, inside[None]])
    return MaskedPasses(masked, ones.expand(len(masked), -1) / (draws + 1))


def text_log_likelihood(policy: LMPolicy, obs: TensorObservation, tokens: th.Tensor, drawn: MaskedPasses) -> th.Tensor:
    """Estimate log p(tokens) of texts, float32 [N].

    Args:
        policy: the policy.
        obs: the observation of N texts before their first step, with all positions masked.
        tokens: int64 [N, T], the tokens that were filled in.
        drawn: the passes.
    """
    M, N, T = drawn.masked.shape
    flat = drawn.masked.view(M * N, T)
    some = {name: leaf.repeat(M, *[1] * (leaf.dim() - 1)) for name, leaf in obs.items()}
    given = some["position_mask"].bool() & ~flat
    rows, slots = given.nonzero(as_tuple=True)
    ids = some["input_ids"].clone()
    ids[rows, some["positions"].long()[rows, slots]] = tokens[rows % N, slots].to(ids.dtype)
    due = flat if drawn.counted is None else drawn.counted.view(M * N, T)
    packed = policy.positions({**some, "input_ids": ids, "due": due})
    return (drawn.weights * packed.log_prob(tokens.repeat(M, 1)).view(M, N)).sum(0)
