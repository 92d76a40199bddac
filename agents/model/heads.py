"""The head of a model, which is everything outside its encoder, and the reuse of its rows by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch as th
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
)

Head = Literal["vocabulary", "labels", "text_labels", "label_words", "pointer", "similarity"]
CLASSIFIERS: dict[str, tuple[Any, Any, str]] = {
    "labels": (AutoModelForTokenClassification, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, "token classifier"),
    "pointer": (AutoModelForTokenClassification, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, "token classifier"),
    "similarity": (AutoModelForTokenClassification, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, "token classifier"),
    "text_labels": (AutoModelForSequenceClassification, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, "text classifier"),
}
"""Heads with one row per label: the auto class, the architectures that support it, and its name for messages.

A pointer head has one row, `CANDIDATE`, which scores each candidate at its marker. A similarity head has as many rows
as hidden states have numbers, and maps the state of a text to an embedding.
"""
CANDIDATE = "candidate"


def auto_class(config: Any, head: Head) -> Any:
    """Return the transformers auto class that loads a model with a head.

    A vocabulary head is the masked LM's head if the architecture has one, unless `architectures` in the configuration
    names the causal LM.

    Raises:
        ValueError: transformers has no such head for the architecture.
    """
    kind = type(config)
    if head in CLASSIFIERS:
        made, known, name = CLASSIFIERS[head]
        if kind not in known:
            raise ValueError(f"transformers has no {name} of model {config.model_type!r}: use another model")
        return made
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING:
        causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING[kind]
        if kind not in MODEL_FOR_MASKED_LM_MAPPING or causal.__name__ in (config.architectures or ()):
            return AutoModelForCausalLM
    if kind in MODEL_FOR_MASKED_LM_MAPPING:
        return AutoModelForMaskedLM
    raise ValueError(
        f"model {config.model_type!r} is neither a masked nor a causal language model, so it has no vocabulary head: "
        "use another model, or head='labels'"
    )


def resolve_head(
    head: Head | None, labels: Sequence[str] | None, choices: int, vocabulary: int
) -> tuple[Head, list[str] | None]:
    """Return the kind of head for n choices, and the names of its labels (None for the vocabulary or embeddings).

    Args:
        head: the kind of head; None: the vocabulary if there are as many choices as tokens, else labels.
        labels: names of the labels; None: LABEL_0, LABEL_1, …
        choices: n.
        vocabulary: V.

    Raises:
        ValueError: the size of the vocabulary, or the number of labels, is not n.
    """
    if head == "pointer":
        return head, [CANDIDATE]
    if head == "similarity":
        return head, None
    if head is None:
        head = "vocabulary" if choices == vocabulary else "labels"
    if head == "vocabulary":
        if choices != vocabulary:
            raise ValueError(
                f"a vocabulary head has {vocabulary} choices, the action space has {choices}: use head='labels'"
            )
        return head, None
    names = list(labels or [f"LABEL_{i}" for i in range(choices)])
    if len(names) != choices:
        raise ValueError(f"{len(names)} labels for {choices} choices: {names}")
    return head, names


def head_parameters(network: Any) -> dict[str, nn.Parameter]:
    """Return the parameters outside `base_model` by name; a matrix tied to the embeddings belongs to the encoder."""
    encoder = {id(p) for p in network.base_model.parameters()}
    return {name: p for name, p in network.named_parameters() if id(p) not in encoder}


def label_names(config: Any) -> list[str]:
    """Return the names of a configuration's labels, in the order of the head's rows."""
    return [config.id2label[i] for i in range(config.num_labels)]


def are_generic(labels: Sequence[str]) -> bool:
    """Return whether labels have only generic names: LABEL_0, LABEL_1 and so on."""
    return list(labels) == [f"LABEL_{i}" for i in range(len(labels))]


def relabelled(network: Any, config: PretrainedConfig, dtype: th.dtype) -> Any:
    """Return the same model with a head for other labels.

    Rows are matched by the names of labels, regardless of their order and number; rows of new labels are newly
    initialised.

    Args:
        network: a model with a trained head for the labels of its own configuration.
        config: the same configuration with the new labels.
        dtype: dtype of the new model.
    """
    own, labels = label_names(network.config), label_names(config)
    shared = [name for name in labels if name in own]
    to, of = th.tensor([labels.index(n) for n in shared]), th.tensor([own.index(n) for n in shared])
    rows = {name: p.detach() for name, p in head_parameters(network).items() if p.shape[:1] == (len(own),)}
    rest = {name: tensor for name, tensor in network.state_dict().items() if name not in rows}
    made = type(network).from_pretrained(None, config=config, state_dict=rest, dtype=dtype)  # initialises missing rows
    if shared:
        with th.no_grad():
            for name, values in rows.items():
                made.get_parameter(name)[to] = values[of]
    return made


def describe_rows(own: list[str], labels: list[str], trained: bool) -> str:
    """Describe which rows of a checkpoint's head are reused for `labels`; empty if all are.

    Args:
        own: the checkpoint's labels.
        labels: the head's labels.
        trained: whether the checkpoint has rows for its labels.
    """
    if own == labels:
        return ""
    if are_generic(own) or are_generic(labels):
        if not trained:
            return ""
        if len(own) == len(labels):
            return f"does not name its {len(own)} labels: its rows are used for {_some(labels)}, in this order"
        unnamed = "has no names for its" if are_generic(own) else "is loaded for labels without names, not for its"
        return f"{unnamed} {len(own)} labels: all {len(labels)} rows of the head are newly initialised"
    shared = set(own) & set(labels) if trained else set()
    new, dropped = [n for n in labels if n not in shared], [n for n in own if n not in shared]
    if not new and not dropped:
        return ""
    parts = [f"new: {_some(new)}"] * bool(new) + [f"dropped: {_some(dropped)}"] * bool(dropped)
    return f"has trained rows for {len(shared)} of the {len(labels)} labels ({'; '.join(parts)})"


def _some(names: Sequence[str]) -> str:
    """Return the first names of a list and the number of others."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
