"""Encoding of texts, each only once while its positions are decided one after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch as th

from lm_gym.agents.model.distinct import distinct_texts
from lm_gym.agents.model.position_model import PositionModel

TensorObservation = dict[str, th.Tensor]
_TEXT = ("input_ids", "attention_mask", "positions")  # leaves that determine the hidden states at positions
_BATCHES = 2  # number of batch sizes whose texts are kept: a rollout and one more
_PROBES = 8  # entries of each weight tensor to compare


@dataclass
class Spent:
    """Cost of encoding so far: texts, their sub-tokens, and the texts with a gradient."""

    texts: int = 0
    tokens: int = 0
    backward: int = 0


class TextEncoder:
    """Encode texts for positions, each text no more often than needed.

    At the cursors of a batch (`unit="token"`), rows with the same text are encoded once. Between calls, `kept` encodes
    only the texts that have changed since its last call, as long as the weights stay the same.

    Args:
        model: the model.

    Attributes:
        spent: cost of encoding so far.
    """

    def __init__(self, model: PositionModel) -> None:
        self._model = model
        self.spent = Spent()
        self._kept: dict[int, _Kept] = {}
        self._weights: _Weights | None = None

    def at_cursors(self, obs: TensorObservation) -> tuple[th.Tensor, th.Tensor]:
        """Encode the texts of a batch.

        Args:
            obs: an observation of B rows; or U texts, with `text` int64 [B], the text of each step, and `cursor`
                [B, 1].

        Returns:
            Hidden states [Q, H] of the distinct positions at the cursors, and the index of each row's position, int64
            [B].
        """
        cursor = obs["cursor"].long().flatten()
        ids, attention = obs["input_ids"].long(), obs["attention_mask"].long()
        if "text" in obs:
            text, owner = obs["text"].long(), obs["text"].long()
        else:
            first, text = distinct_texts(ids, attention)
            ids, attention, owner = ids[first], attention[first], th.arange(len(text), device=text.device)
        columns = obs["positions"].long()[owner, cursor]
        places, steps = th.unique(text * ids.shape[1] + columns, return_inverse=True)
        return self._encode(ids, attention, places), steps

    def at_positions(self, obs: TensorObservation, rows: th.Tensor, slots: th.Tensor, *, counted: bool) -> th.Tensor:
        """Encode the texts of a batch for any number of positions of each text.

        If texts take several steps (`due`), texts without due positions are not read, and equal texts are read once.

        Args:
            obs: an observation of B rows.
            rows: int64 [Q], the row of each position.
            slots: int64 [Q], its index among the positions of its text.
            counted: whether to count the texts; they have a backward pass if gradients are enabled.

        Returns:
            Hidden states [Q, H], or those of candidates (see `PositionModel`).
        """
        columns = obs["positions"].long()[rows, slots]
        ids, attention = obs["input_ids"].long(), obs["attention_mask"].long()
        if "due" in obs and len(rows):
            used, row = th.unique(rows, return_inverse=True)
            first, text = distinct_texts(ids[used], attention[used])
            ids, attention, rows = ids[used][first], attention[used][first], text[row]
        hidden = self._model.encode(ids, attention, rows, columns)
        if counted:
            self.count(attention, backward=th.is_grad_enabled())
        return hidden

    def kept(self, obs: TensorObservation) -> tuple[th.Tensor, th.Tensor]:
        """Return the same as `at_cursors` without gradients, for a batch whose texts rarely change between calls."""
        if self._weights is None or not self._weights.are_those_of(self._model):
            self._kept.clear()
            self._weights = _Weights(self._model)
        batch = len(obs["input_ids"])
        kept = self._kept.pop(batch, None)
        if kept is None:
            kept = _Kept({name: obs[name].clone() for name in _TEXT})
            fresh = th.ones(batch, dtype=th.bool, device=obs["input_ids"].device)
        else:
            fresh = kept.take(obs)
        self._kept[batch] = kept  # the newest is last
        if len(self._kept) > _BATCHES:
            del self._kept[next(iter(self._kept))]
        if fresh.any():
            self._renew(kept, obs, fresh.nonzero().squeeze(1))
        cursor = obs["cursor"].long().flatten()
        rows = th.arange(batch, device=cursor.device)
        width = obs["input_ids"].shape[1]
        columns = obs["positions"].long()[rows, cursor]
        places, steps = th.unique(kept.text * width + columns, return_inverse=True)
        some = th.empty_like(places).scatter_(0, steps, rows)  # a row for each distinct position
        return kept.hidden[some, cursor[some]], steps

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Do not count inside the `with` block, for predictions, which are not part of training."""
        spent = replace(self.spent)
        yield
        self.spent = spent

    def forget(self) -> None:
        """Forget all texts, so that the next call encodes all of them."""
        self._kept.clear()
        self._weights = None

    def _renew(self, kept: _Kept, obs: TensorObservation, fresh: th.Tensor) -> None:
        ids, attention = obs["input_ids"][fresh].long(), obs["attention_mask"][fresh].long()
        first, text = distinct_texts(ids, attention)
        rows, slots = obs["position_mask"][fresh].bool().nonzero(as_tuple=True)
        columns = obs["positions"][fresh].long()[rows, slots]
        places, inverse = th.unique(text[rows] * ids.shape[1] + columns, return_inverse=True)
        hidden = self._encode(ids[first], attention[first], places)
        kept.put(hidden, inverse, fresh, rows, slots, text)

    def _encode(self, ids: th.Tensor, attention: th.Tensor, places: th.Tensor) -> th.Tensor:
        width = ids.shape[1]
        hidden = self._model.encode(ids, attention, places // width, places % width)
        self.count(attention, backward=hidden.requires_grad)
        return hidden

    def count(self, attention: th.Tensor, *, backward: bool) -> None:
        """Add texts to what was spent, given their attention mask [B, L]."""
        self.spent.texts += len(attention)
        self.spent.tokens += int(attention.sum())
        self.spent.backward += len(attention) if backward else 0


class _Kept:
    """The texts of a batch of rows, and their hidden states.

    Attributes:
        hidden: [B, T, H], valid at positions.
        text: int64 [B], a number for each text; rows with the same text since the same call share it.
    """

    hidden: th.Tensor

    def __init__(self, texts: TensorObservation) -> None:
        self._texts = texts
        self.text = th.zeros(len(texts["input_ids"]), dtype=th.int64, device=texts["input_ids"].device)
        self._next = 0

    def take(self, obs: TensorObservation) -> th.Tensor:
        """Store the texts of an observation, and return which rows have changed, bool [B]."""
        changed = th.zeros_like(self.text, dtype=th.bool)
        for name, leaf in self._texts.items():
            changed |= (leaf != obs[name]).any(1)
        for name, leaf in self._texts.items():
            leaf[changed] = obs[name][changed]
        return changed

    def put(
        self,
        hidden: th.Tensor,
        inverse: th.Tensor,
        fresh: th.Tensor,
        rows: th.Tensor,
        slots: th.Tensor,
        text: th.Tensor,
    ) -> None:
        """Keep hidden[inverse] at the positions (fresh[rows], slots); text int64 [F] numbers the fresh rows' texts."""
        if self._next == 0:
            self.hidden = hidden.new_empty((*self._texts["positions"].shape, *hidden.shape[1:]))
        self.hidden[fresh[rows], slots] = hidden[inverse]
        self.text[fresh] = self._next + text
        self._next += int(text.max()) + 1


class _Weights:
    """A fingerprint that shows whether the weights of a model have changed: addresses, version counters, some numbers.

    An optimizer, `load_state_dict` and any in-place write increase a tensor's version. Replacing a tensor's data
    changes its address; the data is held here, so that its address is not used again. A write through `.data` increases
    no version. It is noticed if it changes one of a few numbers of each tensor.
    """

    def __init__(self, model: PositionModel) -> None:
        tensors = [tensor.detach() for tensor in _tensors(model)]
        self._stamps = [_stamp(tensor) for tensor in tensors]
        self._probed = [t.flatten()[:: max(1, t.numel() // _PROBES)] for t in tensors]  # views, which show later writes
        self._seen = self._look()

    def are_those_of(self, model: PositionModel) -> bool:
        return self._stamps == [_stamp(t) for t in _tensors(model)] and th.equal(self._seen, self._look())

    def _look(self) -> th.Tensor:
        return th.cat([numbers.double() for numbers in self._probed])


def _stamp(tensor: th.Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor._version


def _tensors(model: PositionModel) -> list[th.Tensor]:
    """Return the same tensors as `parameters()` and `buffers()`, in a fraction of the time."""
    held = (group for module in model.modules() for group in (module._parameters, module._buffers))
    return [tensor for group in held for tensor in group.values() if tensor is not None]
