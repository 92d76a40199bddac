"""A Hugging Face model whose head runs only at selected positions, never over [batch, length, vocabulary]."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch as th
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from lm_gym.agents.model.candidates import Candidates
from lm_gym.agents.model.prompts import Prompt
from lm_gym.agents.model.towers import Towers


class _States(BaseModelOutputWithPoolingAndCrossAttentions):
    """An encoder's output that holds only hidden states; all other attributes are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class PositionModel(nn.Module):
    """Run a Hugging Face model in two halves: the encoder over whole texts, the head only at given positions.

    The head receives the hidden states at the positions as one text [1, Q, H], so that memory is Q·n instead of B·L·n.
    To support any architecture, the whole model is called with its encoder replaced by one that returns these states.

    Args:
        network: the model.
        classifies_texts: whether the head returns one row of logits per text instead of one per token.

    Attributes:
        prompt: tokens added to every text; positions are counted without them.
        label_words: computes logits of labels from those of the vocabulary; None for the head's own logits.
        candidates: reads the candidates in a text; None if the text does not contain the choices. With candidates,
            hidden states are those of `Pointer.encode`, [Q, n, H + 1], or `Towers.encode`, [Q, n + 1, H].
    """

    def __init__(self, network: Any, *, classifies_texts: bool = False) -> None:
        super().__init__()
        self.network = network
        self.classifies_texts = classifies_texts
        self.prompt: Prompt | None = None
        self.label_words: nn.Module | None = None
        self.candidates: Candidates | None = None
        self._once = True

    @contextmanager
    def every_row(self) -> Iterator[None]:
        """Encode equal parts of texts again for each row inside the `with` block, whose rows have different weights."""
        self._once = False
        try:
            yield
        finally:
            self._once = True

    def forward(
        self, input_ids: th.Tensor, attention_mask: th.Tensor, rows: th.Tensor, columns: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Return logits float32 [Q, n] and hidden states [Q, H] at the positions; see `encode` for arguments."""
        hidden = self.encode(input_ids, attention_mask, rows, columns)
        return self.head(hidden), hidden

    def encode(self, input_ids: th.Tensor, attention_mask: th.Tensor, rows: th.Tensor, columns: th.Tensor) -> th.Tensor:
        """Return the encoder's last hidden states [Q, H] at the positions (rows[q], columns[q]).

        With candidates, return those of each position's text (see `candidates`).

        Args:
            input_ids: int64 [B, L].
            attention_mask: [B, L], 1 at real sub-tokens; columns with padding in every row are not computed.
            rows: int64 [Q] in 0 … B-1.
            columns: int64 [Q] in 0 … L-1.
        """
        length = int(attention_mask.sum(1).max())
        input_ids, attention_mask = input_ids[:, :length], attention_mask[:, :length]
        if self.candidates is not None:
            return self.candidates.encode(self.read, input_ids, attention_mask, rows, once=self._once)
        arguments: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.prompt is not None:
            arguments, columns = self.prompt(self.network, input_ids, attention_mask, rows, columns)
        return self._states(arguments)[rows, columns]

    def _states(self, arguments: dict[str, Any]) -> th.Tensor:
        """Return the encoder's last hidden states [B, L, H]."""
        encoder = self.network.base_model
        if "use_cache" in inspect.signature(type(encoder).forward).parameters:
            arguments["use_cache"] = False  # a decoder's keys and values are not needed later
        with nullcontext() if self.prompt is None else self.prompt.inside(self.network):
            output: th.Tensor = encoder(**arguments, return_dict=True)[0]
        return output

    def read(self, ids: th.Tensor, mask: th.Tensor) -> th.Tensor:
        """Return the states of every token of texts [B, L], [B, L, H], without those of a prompt.

        Raises:
            ValueError: the model takes no text as long as these.
        """
        check_length(self.network, ids.shape[1], 0 if self.prompt is None else len(self.prompt))
        each = th.arange(len(ids), device=ids.device)[:, None]
        text = th.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        arguments = {"input_ids": ids, "attention_mask": mask}
        if self.prompt is not None:
            arguments, text = self.prompt(self.network, ids, mask, each, text)
        return self._states(arguments)[each, text]

    def head(self, hidden: th.Tensor) -> th.Tensor:
        """Return the logits, float32 [Q, n], of the model's head at hidden states, [Q, H] or those of `encode`."""
        if self.classifies_texts:
            return self._classified(hidden).float()
        states = hidden if self.candidates is None else self.candidates.head_states(hidden)
        logits = self._answered(_States(last_hidden_state=states[None]))[0]  # of [1, Q, H]
        if self.candidates is not None:
            return self.candidates.logits(logits, hidden)
        return logits.float() if self.label_words is None else self.label_words(logits)

    def embeddings(self, input_ids: th.Tensor, attention_mask: th.Tensor) -> th.Tensor:
        """Return the embeddings of the contexts and candidates of texts, [B, n + 1, D], of length 1.

        Raises:
            ValueError: the model does not compare embeddings.
        """
        if not isinstance(self.candidates, Towers):
            raise ValueError("the model has no embeddings: make the policy with head='similarity'")
        rows = th.arange(len(input_ids), device=input_ids.device)
        hidden = self.candidates.encode(self.read, input_ids, attention_mask, rows)
        output = self._answered(_States(last_hidden_state=self.candidates.head_states(hidden)[None]))[0]
        return self.candidates.embeddings(output, hidden)

    def _classified(self, hidden: th.Tensor) -> th.Tensor:
        """Return the logits [Q, n] of a text classifier that reads the states [Q, H] of its texts."""
        pooler = getattr(self.network.base_model, "pooler", None)
        texts = hidden[:, None]  # texts of one token, [Q, 1, H]
        read = hidden if pooler is None else pooler(texts)
        head = [m for m in self.network.children() if m is not self.network.base_model]
        layers = [m for m in head if not isinstance(m, nn.Dropout)]
        if len(layers) == 1 and isinstance(layers[0], nn.Linear):  # the whole head of a decoder, and of BERT
            for module in head:
                read = module(read)
            return read.reshape(-1, read.shape[-1])
        logits = self._answered(_States(last_hidden_state=texts, pooler_output=read))
        return logits.reshape(-1, logits.shape[-1])

    def _answered(self, states: _States) -> th.Tensor:
        """Return the logits of the whole model with an encoder that returns `states`."""
        encoder = self.network.base_model
        encoder.forward = lambda *_, **__: states  # shadows the method until it is deleted
        try:
            logits: th.Tensor = self.network(input_ids=None, return_dict=True).logits
        finally:
            del encoder.forward
        return logits


def longest_text(network: Any) -> int | None:
    """Return the maximum number of sub-tokens of a text; None if the model has no limit."""
    limit: int | None = getattr(network.config, "max_position_embeddings", None)
    embeddings = getattr(network.base_model, "embeddings", None)
    if limit is not None and hasattr(embeddings, "create_position_ids_from_input_ids"):  # RoBERTa counts from [PAD]
        limit -= network.config.pad_token_id + 1
    return limit


def check_length(network: Any, tokens: int, prompt: int = 0) -> None:
    """Raise ValueError if the model cannot read texts of `tokens` sub-tokens and a prompt of `prompt` tokens."""
    limit = longest_text(network)
    if limit is not None and tokens + prompt > limit:
        added = f" and a prompt of {prompt}" if prompt else ""
        raise ValueError(
            f"texts have up to {tokens} sub-tokens{added}, but model {network.config.model_type!r} reads at most "
            f"{limit}: make the environment with max_length={max(0, limit - prompt)} or less"
        )
