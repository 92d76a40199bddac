"""The language model of a policy, built from the arguments that describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_gym.agents.model.candidates import CANDIDATE_HEADS, find_candidates
from lm_gym.agents.model.environment_spaces import check_vocabulary
from lm_gym.agents.model.freezing import freeze_parameters
from lm_gym.agents.model.heads import CLASSIFIERS, Head, label_names
from lm_gym.agents.model.label_words import label_word_head
from lm_gym.agents.model.loading import load
from lm_gym.agents.model.position_model import PositionModel
from lm_gym.agents.model.start import Start


@dataclass(frozen=True)
class ModelArguments:
    """The arguments of an `LMPolicy` that describe its model, with the head and its labels resolved (`resolve_head`).

    Raises:
        ValueError: a head lacks the argument that belongs to it, or an argument lacks its head.
    """

    model: str | dict[str, Any]
    head: Head
    labels: list[str] | None
    label_words: Mapping[str, Any] | None
    pointer: Mapping[str, Any] | None
    facts: Mapping[str, Any] | None
    freeze: Sequence[str]
    dropout: float | None
    dtype: str
    tokenizer: str | None

    def __post_init__(self) -> None:
        if (self.head == "label_words") != (self.label_words is not None):
            raise ValueError(f"head={self.head!r} and label_words={self.label_words!r}: give both or neither")
        if (self.head in CANDIDATE_HEADS) != (self.pointer is not None):
            raise ValueError(f"head={self.head!r} and pointer={self.pointer!r}: give both or neither")

    def plain(self, config: Any) -> dict[str, Any]:
        """Return the arguments other than `model` as plain values, with the labels of the model that they describe.

        Args:
            config: configuration of the model.
        """
        labels = label_names(config) if self.head in CLASSIFIERS else self.labels
        return {
            "head": self.head,
            "labels": None if self.head in CANDIDATE_HEADS else labels,  # their rows are not choices
            "label_words": _as_dict(self.label_words),
            "pointer": _as_dict(self.pointer),
            "facts": _as_dict(self.facts),
            "freeze": list(self.freeze),
            "dropout": self.dropout,
            "dtype": self.dtype,
            "tokenizer": self.tokenizer,
        }


def build_language_model(
    asked: ModelArguments, *, choices: int, vocabulary: int, may_freeze_all: bool
) -> tuple[PositionModel, Start]:
    """Load a model with its head, freeze parameters, and describe the model before any update.

    Args:
        asked: the arguments of the policy.
        choices: n.
        vocabulary: number of entries of the environment's tokenizer.
        may_freeze_all: whether all parameters of the model may be frozen.

    Raises:
        ValueError: see LMPolicy.
    """
    network, weights = load(asked.model, asked.head, labels=asked.labels, dtype=asked.dtype, dropout=asked.dropout)
    start = Start(asked.head, weights, network.config.hidden_size)
    check_vocabulary(network.config, vocabulary, asked.model, asked.tokenizer)
    facts = _as_dict(asked.facts)
    if getattr(network.config, "lm_gym", None) != facts:
        network.config.lm_gym = facts
    freeze_parameters(network, asked.freeze, all_of_them=may_freeze_all)
    language_model = PositionModel(network, classifies_texts=asked.head == "text_labels")
    if asked.label_words is not None:
        language_model.label_words = label_word_head(language_model, asked.label_words)
    if asked.pointer is not None:
        language_model.candidates = find_candidates(network.config, asked.head, asked.pointer, choices)
    return language_model, start


def _as_dict(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if given is None else dict(given)
