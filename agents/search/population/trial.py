"""Checks that a batched forward gives the same results as members evaluated alone: the texts and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch as th
from torch import nn

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation

_LENGTHS = (11, 7, 9)  # three texts for two members, to detect if rows of members are mixed up


def trial_texts(policy: LMPolicy) -> TensorObservation:
    """Create a few padded texts of different lengths from random ordinary tokens. Every token is a position.

    If the policy chooses among candidates in a text, the first tokens are a context and two candidates.
    """
    config = policy.network.config
    special = [i for name, i in config.to_dict().items() if name.endswith("_token_id") and isinstance(i, int)]
    ordinary = th.tensor(sorted(set(range(config.vocab_size)) - set(special)))
    lengths = th.tensor(_LENGTHS).clamp(max=policy.max_length)
    columns = th.arange(int(lengths.max()))
    inside = columns < lengths[:, None]
    drawn = th.randint(len(ordinary), inside.shape, generator=th.Generator().manual_seed(0))
    ids = ordinary[drawn].where(inside, th.tensor(config.pad_token_id or 0))
    candidates = policy.language_model.candidates
    if candidates is not None:
        ids[ids == candidates.marker] = int(ordinary[ordinary != candidates.marker][0])
        ids[:, 1 : 2 * min(candidates.choices + 1, 3) : 2] = candidates.marker
    obs = {
        "input_ids": ids,
        "attention_mask": inside.long(),
        "positions": columns.expand_as(inside).where(inside, th.tensor(0)),
        "position_mask": inside.long(),
    }
    return {name: leaf.to(policy.device) for name, leaf in obs.items()}


def find_fault(batched: Callable[[], th.Tensor], alone: th.Tensor) -> str | None:
    """Describe what is wrong with a batched forward, or return None if nothing is.

    Log-probabilities may differ by 1e-4 of their spread over a position's choices. In float32, rounding reaches 6e-6 of
    the spread in models of 32 layers. A parameter that the batched forward misses changes them by 1e-2 and more.

    Args:
        batched: a function that computes log-probabilities [p, Q, n] in one forward.
        alone: a function that computes them member by member, with the same shape.
    """
    try:
        together = batched()
    except th.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        return f"its batched forward fails: {(str(error).splitlines() or [type(error).__name__])[0]}"
    if together.shape != alone.shape:
        return f"its batched forward gives shape {tuple(together.shape)}, not {tuple(alone.shape)}"
    spread = alone.std(-1).max().clamp(min=th.finfo(alone.dtype).tiny)
    off = ((together - alone).abs().max() / spread).item()
    return None if off < 1e-4 else f"its batched forward is off by {off:.0e} of the spread of logits"


@contextmanager
def full_precision(model: nn.Module) -> Iterator[None]:
    """Store and multiply weights in float32 inside the `with` block, so that rounding is not mistaken for a fault."""
    precision = th.get_float32_matmul_precision()
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point() and t.itemsize < 4]
    values = [tensor.data for tensor in tensors]
    try:
        th.set_float32_matmul_precision("highest")
        for tensor in tensors:
            tensor.data = tensor.data.float()
        yield
    finally:
        th.set_float32_matmul_precision(precision)
        for tensor, value in zip(tensors, values, strict=True):
            tensor.data = value
