"""Loading of Hugging Face models with the head of a task and a complete encoder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch as th
from torch import nn
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import logging as transformers_logging

from lm_gym.agents.files import CHECKSUMS, find_damage
from lm_gym.agents.model.heads import (
    CLASSIFIERS,
    Head,
    are_generic,
    auto_class,
    describe_rows,
    head_parameters,
    label_names,
    relabelled,
)
from lm_gym.agents.model.position_model import PositionModel
from lm_gym.agents.model.start import Weights
from lm_gym.builtin import tiny_path
from lm_gym.hub import hub_or_cache
from lm_gym.naming import check_choice

_DTYPES = {"float32": th.float32, "bfloat16": th.bfloat16, "float16": th.float16}


def model_path(model: str) -> str:
    """Return the folder of the shipped model for `tiny`; return any other folder or hub id unchanged."""
    return str(tiny_path()) if model == "tiny" else model


class Loaded(NamedTuple):
    """A model, and the origin of its weights.

    Attributes:
        network: the Hugging Face model.
        weights: see `Start`.
    """

    network: Any
    weights: Weights


def load_model(
    model: str | dict[str, Any],
    head: Head,
    *,
    labels: Sequence[str] | None = None,
    dtype: str = "float32",
    dropout: float | None = None,
) -> Any:
    """Return a Hugging Face model with a head: the network of `load`, with the same arguments."""
    return load(model, head, labels=labels, dtype=dtype, dropout=dropout).network


def load(
    model: str | dict[str, Any],
    head: Head,
    *,
    labels: Sequence[str] | None = None,
    dtype: str = "float32",
    dropout: float | None = None,
) -> Loaded:
    """Load a Hugging Face model with a head, and find out whether its weights are those of a checkpoint.

    Args:
        model: `"tiny"`, a local folder, a hub id; or a configuration (`config.to_dict()`), for a model with new
            weights, as when a saved agent is rebuilt.
        head: `"vocabulary"` or `"label_words"`, of a masked or causal LM (see `auto_class`), `"labels"`, of a token
            classifier, `"pointer"` or `"similarity"`, of the same, or `"text_labels"`, of a text classifier.
        labels: names of the labels, in order, which become `id2label`. Required for a head of labels. Rows of the
            checkpoint's head are used for the labels of the same name; a warning lists new and dropped labels. If one
            side has only generic names (LABEL_0, …), rows are kept if the number of labels is the same.
        dtype: `"float32"` (also for checkpoints stored in half precision), `"bfloat16"` or `"float16"`.
        dropout: overrides every dropout probability of the configuration; None keeps them.

    Raises:
        ValueError: the dtype or head is unknown, two labels have the same name, the architecture has no such head, or
            the checkpoint lacks weights of its encoder.
        FileNotFoundError: there is no such folder, and the hub has no such model or cannot be reached.
    """
    check_choice("dtype", dtype, _DTYPES)
    check_choice("head", head, get_args(Head))
    if labels is not None and len(set(labels)) < len(labels):
        raise ValueError(f"two labels have the same name: {', '.join(labels)}")
    if isinstance(model, dict):
        labels = _row_names(head, labels, AutoConfig.for_model(**model))
        config = _set_dropout(AutoConfig.for_model(**{**model, **_as_overrides(labels)}), dropout)
        network = auto_class(config, head).from_config(config).to(_DTYPES[dtype])
        if head == "similarity":
            _begin_embeddings(network, head_parameters(network))
        return Loaded(_check_halves(network, head), "random")
    damage = find_damage(Path(model_path(model)))
    if damage is not None:
        raise ValueError(
            f"the model {model!r} is damaged: {damage}; restore it, or delete {CHECKSUMS} to load it anyway"
        )
    with _quiet(), hub_or_cache(model_path(model)) as unreachable:
        try:
            network, weights, news = _read(model_path(model), model, head, labels, _DTYPES[dtype], dropout)
        except OSError as error:
            raise FileNotFoundError(
                f"no model at {model!r}: give 'tiny', a folder with config.json and weights, or the id of a hub model "
                f"({unreachable or str(error).splitlines()[0]})"
            ) from error
    if news:
        warnings.warn(f"{model!r} {news}", stacklevel=3)
    return Loaded(network, weights)


def _read(
    path: str, model: str, head: Head, labels: Sequence[str] | None, dtype: th.dtype, dropout: float | None
) -> tuple[Any, Weights, str]:
    """Return a checkpoint's model, which part of it is trained, and a message about its head for the user, or ""."""
    stored = _set_dropout(AutoConfig.from_pretrained(path), dropout)
    own = label_names(stored)
    labels = _row_names(head, labels, stored)
    if labels is None or (are_generic(labels) and len(labels) == len(own)):
        labels = own
    config = _set_dropout(AutoConfig.from_pretrained(path, **_as_overrides(labels)), dropout)
    by_name = head in CLASSIFIERS and list(labels) != own and not are_generic(own) and not are_generic(labels)
    network, report = auto_class(stored, head).from_pretrained(
        path,
        config=stored if by_name else config,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=head in CLASSIFIERS,
    )
    begun = _begin_pooler(network, report["missing_keys"])
    _check_encoder(_check_halves(network, head), report["missing_keys"] - begun, report["mismatched_keys"], head, model)
    fresh = sorted(head_parameters(network).keys() & report["missing_keys"])
    if head == "similarity":
        _begin_embeddings(network, {*fresh, *(name for name, *_ in report["mismatched_keys"])})
    if head not in CLASSIFIERS:
        return network, "fresh head" if fresh else "trained", _untrained(fresh)
    trained = not any(network.get_parameter(name).shape[:1] == (network.config.num_labels,) for name in fresh)
    if by_name:
        network = relabelled(network, config, dtype)
    every_row = trained and (set(labels) <= set(own) if by_name else len(labels) == len(own))
    return network, "trained" if every_row else "fresh head", describe_rows(own, list(labels), trained)


def _untrained(fresh: Sequence[str]) -> str:
    if not fresh:
        return ""
    return (
        f"has no trained vocabulary head: {', '.join(fresh)} are newly initialised; train the head (algo: supervised) "
        "before you use its predictions"
    )


def _begin_pooler(network: Any, missing: set[str]) -> set[str]:
    """Initialise a pooler that the checkpoint lacks to the identity before its tanh; return its parameters' names.

    BERT's text classifier has a pooler (a linear layer and tanh on the first token's state), unlike its language model.
    """
    pooler = getattr(network.base_model, "pooler", None)
    layer = getattr(pooler, "dense", None)
    if not isinstance(layer, nn.Linear) or layer.in_features != layer.out_features:
        return set()
    names = {name for name, p in network.named_parameters() if p is layer.weight or p is layer.bias}
    if not names <= missing:
        return set()
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return names


def _row_names(head: Head, labels: Sequence[str] | None, config: Any) -> Sequence[str] | None:
    """Return the names of the head's rows: the labels, or for embeddings generic names."""
    return [f"LABEL_{i}" for i in range(config.hidden_size)] if head == "similarity" else labels


def _begin_embeddings(network: Any, fresh: Collection[str]) -> None:
    """Initialise the last layer of a head to the identity if it is new: embeddings start as the model's own states."""
    names = {id(parameter): name for name, parameter in head_parameters(network).items()}
    layer = [m for m in network.modules() if isinstance(m, nn.Linear) and id(m.weight) in names][-1]
    if names[id(layer.weight)] in fresh and layer.in_features == layer.out_features:
        nn.init.eye_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _position_model(network: Any, head: Head) -> PositionModel:
    return PositionModel(network, classifies_texts=head == "text_labels")


def _check_halves(network: Any, head: Head) -> Any:
    """Return the model, after checking that its head runs without its encoder and that a text classifier agrees."""
    training = network.training
    try:
        if network.base_model is network:
            raise AttributeError("it has no base_model separate from its head")
        with th.no_grad():
            model = _position_model(network.eval(), head)
            model.head(th.zeros(1, network.config.hidden_size, dtype=network.dtype))
            if model.classifies_texts:
                _compare_halves(model)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"the head of {type(network).__name__} cannot run without its encoder "
            f"({str(error).splitlines()[0]}): use another model"
        ) from error
    return network.train(training)


def _compare_halves(model: PositionModel) -> None:
    """Raise ValueError unless both halves of a text classifier equal the whole, at the first or the last token."""
    ids = th.tensor([[id_ for id_ in range(2, 9) if id_ != model.network.config.pad_token_id][:5]])
    mask = th.ones_like(ids)
    whole = model.network(input_ids=ids, attention_mask=mask).logits[0].float()
    logits, _ = model(ids, mask, th.tensor([0, 0]), th.tensor([0, ids.shape[1] - 1]))
    near = 1e-4 if model.network.dtype == th.float32 else 3e-2
    if not ((logits - whole).abs().amax(1) <= near * (1 + whole.abs().max())).any():
        raise ValueError("it does not read the state of the first or the last token alone")


def _check_encoder(
    network: Any, missing: set[str], mismatched: Sequence[tuple[Any, ...]], head: Head, model: str
) -> None:
    """Raise ValueError if a checkpoint lacks weights that affect the logits; an unused pooler may be missing."""
    encoder = {id(p) for p in network.base_model.parameters()}
    absent = {*missing, *(name for name, *_ in mismatched)}
    parameters = {n: p for n, p in network.named_parameters() if n in absent and id(p) in encoder}
    if not parameters:
        return
    text = th.ones(1, 2, dtype=th.int64)
    with th.enable_grad():
        logits, _ = _position_model(network, head)(text, text, th.zeros(1, dtype=th.int64), th.ones(1, dtype=th.int64))
    gradients = th.autograd.grad(logits.sum(), list(parameters.values()), allow_unused=True)
    needed = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
    if needed:
        raise ValueError(
            f"the checkpoint {model!r} lacks {len(needed)} weights of its encoder, among them "
            f"{', '.join(needed[:3])}: save the whole model again, or use another one"
        )


def _as_overrides(labels: Sequence[str] | None) -> dict[str, Any]:
    """Return arguments of a configuration with these labels."""
    if labels is None:
        return {}
    return {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}


def _set_dropout(config: PretrainedConfig, dropout: float | None) -> PretrainedConfig:
    if dropout is not None:
        for name in vars(config):
            if "dropout" in name and isinstance(getattr(config, name), float | type(None)):
                setattr(config, name, dropout)
    return config


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress progress bars and load reports; load_model reports what matters."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
