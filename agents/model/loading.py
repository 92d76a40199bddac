"""Hugging Face models whose head runs at chosen positions only, never over [batch, length, vocabulary]."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import torch as th
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PretrainedConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions
from transformers.utils import logging as transformers_logging

from lm_gym.agents.model.prompts import Prompt
from lm_gym.builtin import tiny_path

Task = Literal["masked_lm", "token_classification"]
AUTO_MODELS: dict[str, Any] = {
    "masked_lm": AutoModelForMaskedLM,
    "token_classification": AutoModelForTokenClassification,
}
_DTYPES = {"float32": th.float32, "bfloat16": th.bfloat16, "float16": th.float16}


def model_path(model: str) -> str:
    """`tiny` is the model shipped with lm_gym; anything else is a local folder or a hub id."""
    return str(tiny_path()) if model == "tiny" else model


def load_model(
    model: str | dict[str, Any],
    task: Task,
    *,
    labels: Sequence[str] | None = None,
    dtype: str = "float32",
    dropout: float | None = None,
) -> Any:
    """A Hugging Face model with the head that `task` needs.

    Args:
        model: `"tiny"`, a local folder, a hub id; or a configuration as `config.to_dict()` gives it, for a model
            with fresh weights (how a saved agent is rebuilt before its own weights are put in).
        task: `"masked_lm"` or `"token_classification"`.
        labels: names of the classes, in order; they fill `id2label`. Needed by token classification.
        dtype: `"float32"` (also for checkpoints stored in half precision), `"bfloat16"` or `"float16"`.
        dropout: overrides every dropout probability of the configuration; None keeps them.

    Raises:
        ValueError: an unknown dtype.
        FileNotFoundError: no such folder, and no such model on the hub (or the hub can't be reached).
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    overrides: dict[str, Any] = {}
    if labels is not None:
        overrides["id2label"] = dict(enumerate(labels))
        overrides["label2id"] = {name: i for i, name in enumerate(labels)}
    if isinstance(model, dict):
        config = AutoConfig.for_model(**{**model, **overrides})
        _set_dropout(config, dropout)
        return AUTO_MODELS[task].from_config(config).to(_DTYPES[dtype])
    path = model_path(model)
    with _quiet():
        try:
            stored = AutoConfig.from_pretrained(path)
            config = AutoConfig.from_pretrained(path, **overrides)
            _set_dropout(config, dropout)
            network, report = AUTO_MODELS[task].from_pretrained(
                path,
                config=config,
                dtype=_DTYPES[dtype],
                output_loading_info=True,
                ignore_mismatched_sizes=task == "token_classification",
            )
        except OSError as error:
            raise FileNotFoundError(
                f"no model at {model!r}: give 'tiny', a folder that holds config.json and weights, or a hub id "
                f"that can be reached ({str(error).splitlines()[0]})"
            ) from error
    if labels is not None:
        _order_labels(network, [stored.id2label[i] for i in range(stored.num_labels)], labels)
    fresh = sorted(name for name in report["missing_keys"] if "position_ids" not in name)
    if task == "masked_lm" and fresh:
        warnings.warn(
            f"{model!r} has no trained masked-LM head: {', '.join(fresh)} start fresh, the output projection is tied "
            "to the input embeddings; train the head (algo: supervised) before you read its predictions",
            stacklevel=3,
        )
    return network


def _order_labels(network: Any, stored: Sequence[str], labels: Sequence[str]) -> None:
    """A checkpoint trained on the same tags in another order gets its output rows in ours."""
    if list(stored) == list(labels) or sorted(stored) != sorted(labels):
        return
    order = th.tensor([stored.index(name) for name in labels])
    with th.no_grad():
        for parameter in network.classifier.parameters():
            parameter.copy_(parameter[order].clone())


def _set_dropout(config: PretrainedConfig, dropout: float | None) -> None:
    if dropout is None:
        return
    for name in vars(config):
        if "dropout" in name and isinstance(getattr(config, name), float | type(None)):
            setattr(config, name, dropout)


@contextmanager
def _quiet() -> Iterator[None]:
    """Loads without progress bars and load reports: what matters of them is said by load_model."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_tokenizer(model: str) -> Any:
    """The transformers tokenizer that lies beside `model` (see model_path)."""
    return AutoTokenizer.from_pretrained(model_path(model))


def check_tokenizer(model: str, vocabulary: Mapping[str, int], name: str) -> None:
    """Refuses a model whose own tokenizer numbers tokens differently; without one beside it nothing is known.

    Args:
        model: see model_path.
        vocabulary: token to id, as the environment numbers them.
        name: what the environment's tokenizer is called.

    Raises:
        ValueError: naming a token on which they differ.
    """
    file = Path(model_path(model)) / "tokenizer.json"
    if not file.is_file():
        return
    own = Tokenizer.from_file(str(file)).get_vocab()
    if own != vocabulary:
        token = min(t for t in own.keys() | vocabulary.keys() if own.get(t) != vocabulary.get(t))
        raise ValueError(
            f"the environment's tokenizer {name} is not that of model {model!r}: token {token!r} is "
            f"{vocabulary.get(token)} and {own.get(token)}; make the environment with tokenizer={model!r}"
        )


def longest_text(network: Any) -> int | None:
    """Sub-tokens of a text that the model has positions for; None where that is unlimited."""
    limit: int | None = getattr(network.config, "max_position_embeddings", None)
    embeddings = getattr(network.base_model, "embeddings", None)
    if limit is not None and hasattr(embeddings, "create_position_ids_from_input_ids"):  # RoBERTa's begin behind [PAD]
        limit -= network.config.pad_token_id + 1
    return limit


def freeze(network: nn.Module, patterns: Sequence[str]) -> None:
    """Excludes parameters from training by glob patterns over their names, e.g. `"*embeddings*"`, `"*layer.0.*"`.

    Raises:
        ValueError: a pattern matches no parameter (some names are listed), or none is left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ValueError(
                f"freeze pattern {pattern!r} matches no parameter; names look like {names[0]!r}, {names[-1]!r}"
            )
    for name, parameter in network.named_parameters():
        if any(fnmatch(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"freeze patterns {list(patterns)} leave nothing to train")


class PositionModel(nn.Module):
    """Runs a Hugging Face model in its two halves: the encoder over whole texts, the head at given positions only.

    The head sees the hidden states at the positions as one text [1, Q, H], so that memory is Q·n and not B·L·n. It is
    the model's own, whatever its architecture: the whole model is called with its encoder answering those states.

    Attributes:
        prompt: tokens that the encoder finds in every text; places are counted without them.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.prompt: Prompt | None = None

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
        arguments = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.prompt is not None:
            arguments, columns = self.prompt(self.network, input_ids, attention_mask, columns)
        output = self.network.base_model(**arguments, return_dict=True)
        hidden: th.Tensor = output[0][rows, columns]
        return hidden

    def head(self, hidden: th.Tensor) -> th.Tensor:
        """Logits, float32 [Q, n], of the model's head alone at hidden states [Q, H]."""
        encoder = self.network.base_model
        states = BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=hidden[None])  # [1, Q, H]
        encoder.forward = lambda *_, **__: states  # shadows the method until it is deleted
        try:
            logits: th.Tensor = self.network(input_ids=None, return_dict=True).logits
        finally:
            del encoder.forward
        return logits[0].float()
