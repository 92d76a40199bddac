"""Check whether a model's output for a text depends on the padding in its batch."""

from __future__ import annotations

import warnings
from typing import Any

import torch as th

from lm_gym.agents.model.position_model import PositionModel

_LENGTHS = (5, 9)  # sub-tokens of a text, and of a longer text in its batch
_TOLERANCE = {th.float32: 1e-3, th.float64: 1e-3}  # of the spread of logits; others round by more
_FOUND: dict[type[Any], float] = {}  # by architecture: a trial takes two short forward passes


def warn_if_padding_is_read(network: Any, max_length: int, *, classifies_texts: bool = False) -> None:
    """Warn if a model's logits at a text change with the longest text of its batch, as those of FNet do.

    Args:
        network: a Hugging Face model with a head.
        max_length: maximum number of sub-tokens of the environment's texts.
        classifies_texts: as in `PositionModel`.

    Raises:
        ValueError: the model cannot read a text.
    """
    kind = type(network)
    if kind not in _FOUND and max_length >= _LENGTHS[1]:
        _FOUND[kind] = _difference(PositionModel(network, classifies_texts=classifies_texts))
    if _FOUND.get(kind, 0.0) > _TOLERANCE.get(network.dtype, 0.2):
        warnings.warn(
            f"{kind.__name__} reads padding: its predictions for a text change with the length of the other texts in "
            "the batch. Results depend on num_envs and on the order of texts; use another model, or num_envs=1",
            stacklevel=3,
        )


def _difference(model: PositionModel) -> float:
    """Return the largest change of a text's logits in a batch with a longer text, in units of their spread."""
    network = model.network
    config = network.config.to_dict()
    special = [i for name, i in config.items() if name.endswith("_token_id") and isinstance(i, int)]
    ordinary = [i for i in range(config["vocab_size"]) if i not in special][: sum(_LENGTHS)]
    short, long = (th.tensor(ids, device=network.device) for ids in (ordinary[: _LENGTHS[0]], ordinary[-_LENGTHS[1] :]))
    batch = th.nn.utils.rnn.pad_sequence([short, long], batch_first=True, padding_value=config.get("pad_token_id") or 0)
    inside = th.nn.utils.rnn.pad_sequence([th.ones_like(short), th.ones_like(long)], batch_first=True)
    columns = th.arange(len(short), device=network.device)
    rows, training = th.zeros_like(columns), network.training
    network.eval()
    try:
        with th.no_grad():
            alone, _ = model(short[None], th.ones_like(short[None]), rows, columns)
            beside, _ = model(batch, inside, rows, columns)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{type(network).__name__} cannot read a text ({reason}): use another model") from error
    finally:
        network.train(training)
    spread = alone.std(-1).max() if alone.shape[-1] > 1 else alone.std()
    return float((beside - alone).abs().max() / spread.clamp(min=th.finfo(alone.dtype).tiny))
