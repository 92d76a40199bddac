"""A Hugging Face model whose head runs at chosen positions only, never over [batch, length, vocabulary]."""

from __future__ import annotations

import inspect
from typing import Any

import torch as th
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from lm_gym.agents.model.prompts import Prompt


class _States(BaseModelOutputWithPoolingAndCrossAttentions):
    """An encoder's output of which only the states are there; what else some encoder gives is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


class PositionModel(nn.Module):
    """Runs a Hugging Face model in its two halves: the encoder over whole texts, the head at given positions only.

    The head sees the hidden states at the positions as one text [1, Q, H], so that memory is Q·n and not B·L·n. It is
    the model's own, whatever its architecture: the whole model is called with its encoder answering those states.

    Args:
        network: the model.
        classifies_texts: whether its head gives a text one row of logits, and not each token.

    Attributes:
        prompt: tokens that the encoder finds in every text; places are counted without them.
        label_words: makes logits of labels of those of the vocabulary; None where the head's own are asked for.
    """

    def __init__(self, network: Any, *, classifies_texts: bool = False) -> None:
        super().__init__()
        self.network = network
        self.classifies_texts = classifies_texts
        self.prompt: Prompt | None = None
        self.label_words: nn.Module | None = None

    def forward(
        self, input_ids: th.Tensor, attention_mask: th.Tensor, rows: th.Tensor, columns: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Logits float32 [Q, n] and hidden states [Q, H] at the positions; arguments as those of `encode`."""
        hidden = self.encode(input_ids, attention_mask, rows, columns)
        return self.head(hidden), hidden

    def encode(self, input_ids: th.Tensor, attention_mask: th.Tensor, rows: th.Tensor, columns: th.Tensor) -> th.Tensor:
        """The encoder's last hidden states [Q, H] at the positions (rows[q], columns[q]).

        Args:
            input_ids: int64 [B, L].
            attention_mask: [B, L], 1 at real sub-tokens; columns that are padding in every row are not computed.
            rows: int64 [Q] in 0 … B-1.
            columns: int64 [Q] in 0 … L-1.
        """
        length = int(attention_mask.sum(1).max())
        input_ids, attention_mask = input_ids[:, :length], attention_mask[:, :length]
        arguments: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.prompt is not None:
            arguments, columns = self.prompt(self.network, input_ids, attention_mask, columns)
        encoder = self.network.base_model
        if "use_cache" in inspect.signature(type(encoder).forward).parameters:
            arguments["use_cache"] = False  # a decoder's keys and values are never asked for again
        output = encoder(**arguments, return_dict=True)
        hidden: th.Tensor = output[0][rows, columns]
        return hidden

    def head(self, hidden: th.Tensor) -> th.Tensor:
        """Logits, float32 [Q, n], of the model's head alone at hidden states [Q, H]."""
        if self.classifies_texts:
            return self._classified(hidden).float()
        logits = self._answered(_States(last_hidden_state=hidden[None]))[0]  # of [1, Q, H]
        return logits.float() if self.label_words is None else self.label_words(logits)

    def _classified(self, hidden: th.Tensor) -> th.Tensor:
        """Logits [Q, n] of a text classifier for texts of which it reads the states [Q, H]."""
        pooler = getattr(self.network.base_model, "pooler", None)
        texts = hidden[:, None]  # texts of one token, [Q, 1, H]
        read = hidden if pooler is None else pooler(texts)
        head = [m for m in self.network.children() if m is not self.network.base_model]
        layers = [m for m in head if not isinstance(m, nn.Dropout)]
        if len(layers) == 1 and isinstance(layers[0], nn.Linear):  # the whole of a decoder's head, and of BERT's
            for module in head:
                read = module(read)
            return read.reshape(-1, read.shape[-1])
        logits = self._answered(_States(last_hidden_state=texts, pooler_output=read))
        return logits.reshape(-1, logits.shape[-1])

    def _answered(self, states: _States) -> th.Tensor:
        """Logits of the whole model, its encoder answering `states`."""
        encoder = self.network.base_model
        encoder.forward = lambda *_, **__: states  # shadows the method until it is deleted
        try:
            logits: th.Tensor = self.network(input_ids=None, return_dict=True).logits
        finally:
            del encoder.forward
        return logits


def longest_text(network: Any) -> int | None:
    """Sub-tokens of a text that the model has positions for; None where that is unlimited."""
    limit: int | None = getattr(network.config, "max_position_embeddings", None)
    embeddings = getattr(network.base_model, "embeddings", None)
    if limit is not None and hasattr(embeddings, "create_position_ids_from_input_ids"):  # RoBERTa's begin behind [PAD]
        limit -= network.config.pad_token_id + 1
    return limit


def check_length(network: Any, tokens: int, prompt: int = 0) -> None:
    """Refuses texts of so many sub-tokens, with a prompt of so many in them, that the model has no positions for."""
    limit = longest_text(network)
    if limit is not None and tokens + prompt > limit:
        added = f" and a prompt of {prompt}" if prompt else ""
        raise ValueError(
            f"texts of up to {tokens} sub-tokens{added}, model {network.config.model_type!r} takes {limit}: make the "
            f"environment with max_length={max(0, limit - prompt)} or less"
        )
