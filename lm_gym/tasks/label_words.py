"""Label words: the words of a language model's own vocabulary that stand for labels (a verbalizer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_gym.naming import among
from lm_gym.tasks.templates import Template, Texts

if TYPE_CHECKING:
    from lm_gym.tasks.text_classification import TextClassificationOptions
    from lm_gym.tokenizer import TextTokenizer

CONTENT_FREE = ("N/A", "[MASK]", "")  # Zhao et al. 2021


@dataclass(frozen=True)
class LabelWords:
    """The label words of a task, for a policy.

    Attributes:
        template: the template, for documentation.
        words: the words of each label, in the order of the labels.
        ids: token ids by label, word and token.
        content_free: token ids of texts without content, in the template; empty without calibration.
        places: the position of the label in each of these texts.
    """

    template: str
    words: tuple[tuple[str, ...], ...]
    ids: tuple[tuple[tuple[int, ...], ...], ...]
    content_free: tuple[tuple[int, ...], ...] = ()
    places: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists by name, for JSON."""
        return {name: _listed(value) for name, value in asdict(self).items()}


def read_label_words(
    options: TextClassificationOptions, template: Template, labels: Sequence[str], tokenizer: TextTokenizer
) -> LabelWords:
    """Encode the words of each label and, for calibration, texts without content.

    Args:
        options: options with a template and label words.
        template: the parsed template.
        labels: the labels, in order.
        tokenizer: encodes each word as it appears after a space.

    Raises:
        ValueError: a label has no words, words have no label, a word is unknown to the tokenizer, or two labels share a
            word.
    """
    given = dict(options.label_words or ())
    for label in given:
        if label not in labels:
            raise ValueError(f"label_words: no label {label!r}{among(label, labels)}")
    missing = [label for label in labels if not given.get(label)]
    if missing:
        raise ValueError(f"label_words: no word for {', '.join(missing)}: give at least one per label")
    words = tuple(_as_tuple(given[label]) for label in labels)
    ids = tuple(tuple(_ids(word, tokenizer) for word in of_label) for of_label in words)
    _refuse_shared(labels, words, ids)
    assert options.template is not None
    if not options.calibrate:
        return LabelWords(options.template, words, ids)
    empty = _content_free(tokenizer)
    filled, places, _ = template.fill(dict.fromkeys(template.names, empty), 1 << 20)
    texts = np.split(filled.flat, np.cumsum(filled.lengths)[:-1])
    framed = tuple((*template.prefix, *text.tolist(), *template.suffix) for text in texts)
    return LabelWords(options.template, words, ids, framed, tuple(places.tolist()))


def _content_free(tokenizer: TextTokenizer) -> Texts:
    """Return texts without content, whose predictions are the model's prior (Zhao et al. 2021)."""
    pieces = [tokenizer.encode_words([text])[0] if text else np.zeros(0, np.int32) for text in CONTENT_FREE]
    return Texts(np.concatenate(pieces), np.array([len(piece) for piece in pieces]))


def _refuse_shared(
    labels: Sequence[str], words: Sequence[Sequence[str]], ids: Sequence[Sequence[tuple[int, ...]]]
) -> None:
    owner: dict[tuple[int, ...], str] = {}
    for label, its_words, its_ids in zip(labels, words, ids, strict=True):
        for word, tokens in zip(its_words, its_ids, strict=True):
            other = owner.setdefault(tokens, label)
            if other != label:
                raise ValueError(
                    f"label_words: {word!r} stands for {other!r} and for {label!r}: give each label different words"
                )


def _as_tuple(words: str | Sequence[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def _ids(word: str, tokenizer: TextTokenizer) -> tuple[int, ...]:
    ids, _ = tokenizer.encode_words(word.split() or [word])
    if tokenizer.unknown is not None and tokenizer.unknown in ids:
        raise ValueError(f"label_words: the tokenizer {tokenizer.source} does not know {word!r}: use another word")
    return tuple(ids.tolist())


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
