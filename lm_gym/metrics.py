"""Corpus-level metrics, in which results are reported. They are not rewards.

Entity scores follow conlleval.pl (Tjong Kim Sang and Buchholz 2000; De Meulder and Tjong Kim Sang 2003): an entity is
correct if its type and both ends are correct, and O never counts. All functions work on the flat arrays of a `Corpus`
without loops over tokens; `flat_tags` creates these arrays from lists of strings.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lm_gym.iob2 import entity_types, split_tag


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1, from 0 to 1 (0 if undefined), and the number of gold cases."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Report:
    """Scores by class, and their averages.

    Attributes:
        title: title of the report.
        classes: scores of each class that occurs in gold or predicted.
        micro: scores over all cases together.
        macro: mean over the classes.
        weighted: mean over the classes, weighted by support.
    """

    title: str
    classes: dict[str, Scores]
    micro: Scores
    macro: Scores
    weighted: Scores

    def rows(self) -> list[tuple[str, Scores]]:
        """Return the classes, then "micro avg", "macro avg" and "weighted avg"."""
        averages = (("micro avg", self.micro), ("macro avg", self.macro), ("weighted avg", self.weighted))
        return [*self.classes.items(), *averages]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries of numbers, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        lines = [self.title, f"{'':{width}}  precision  recall      f1  support"]
        for name, s in self.rows():
            if name == "micro avg":
                lines.append("")
            lines.append(f"{name:{width}}  {s.precision:9.4f}  {s.recall:6.4f}  {s.f1:6.4f}  {s.support:7d}")
        return "\n".join(lines)


class EntityReport(Report):
    """Scores by entity type; `micro.f1` is the entity F1."""


class TokenReport(Report):
    """Scores by tag, including O; `micro.f1` is the token accuracy, not the entity F1."""


def entity_spans(
    tags: ArrayLike, tag_names: Sequence[str], offsets: ArrayLike | None = None, *, strict: bool = False
) -> NDArray[np.int64]:
    """Return the entities of tagged texts.

    By default, as in conlleval, an I- that follows O or another type begins an entity. In strict IOB2 only B- begins an
    entity, and an I- without its B- belongs to none.

    Args:
        tags: integers [W], index into `tag_names`.
        tag_names: "O", and "B-X", "I-X" for each type X.
        offsets: offsets of texts [N + 1]; None for a single text.
        strict: whether to read the tags as strict IOB2.

    Returns:
        int64 [M, 3]: index into `entity_types(tag_names)`, first word, one past the last word; in text order.

    Raises:
        ValueError: a tag is outside `tag_names`, a name is not IOB2, or offsets do not span the tags.
    """
    ids = _ids(tags, tag_names, "tags")
    types = {name: index for index, name in enumerate(entity_types(tag_names))}
    parts = [split_tag(tag) for tag in tag_names]
    begins = np.array([letter == "B" for letter, _ in parts])[ids]
    inside = np.array([letter == "I" for letter, _ in parts])[ids]
    type_of = np.array([types.get(name, -1) for _, name in parts], np.int64)[ids]
    joined = np.zeros(len(ids), np.bool_)  # the word continues the entity of the previous word
    joined[1:] = inside[1:] & (type_of[1:] == type_of[:-1])
    joined[_text_starts(offsets, len(ids))] = False
    starts = np.flatnonzero(~joined)
    stops = np.append(starts, len(ids))[1:]
    kept = begins[starts] if strict else (begins | inside)[starts]
    spans: NDArray[np.int64] = np.stack((type_of[starts], starts, stops), axis=1)[kept]
    return spans


def entity_report(
    gold: ArrayLike,
    predicted: ArrayLike,
    tag_names: Sequence[str],
    offsets: ArrayLike | None = None,
    *,
    strict: bool = False,
) -> EntityReport:
    """Return entity precision, recall and F1 of a corpus, equal to conlleval and to seqeval's default.

    Args:
        gold: integers [W], index into `tag_names`.
        predicted: integers [W], the same.
        tag_names: "O", and "B-X", "I-X" for each type X.
        offsets: offsets of texts [N + 1]; None for a single text.
        strict: whether to read both as strict IOB2 (seqeval's `mode="strict", scheme=IOB2`).

    Raises:
        ValueError: as `entity_spans`, or arrays of different lengths.
    """
    _same_length(gold, predicted)
    types = entity_types(tag_names)
    true = entity_spans(gold, tag_names, offsets, strict=strict)
    guess = entity_spans(predicted, tag_names, offsets, strict=strict)
    at = np.searchsorted(guess[:, 1], true[:, 1])  # both sorted by first word, which no two entities share
    found = at < len(guess)
    found[found] = (guess[at[found]] == true[found]).all(axis=1)
    counts = [np.bincount(spans[:, 0], minlength=len(types)) for spans in (true[found], guess, true)]
    name = "strict IOB2" if strict else "conlleval"
    return EntityReport(f"Entity report ({name})", *_averaged(types, *counts))


def token_report(gold: ArrayLike, predicted: ArrayLike, tag_names: Sequence[str]) -> TokenReport:
    """Return precision, recall and F1 of every tag including O, as scikit-learn's classification_report.

    Args:
        gold: integers [W], index into `tag_names`.
        predicted: integers [W], the same.
        tag_names: any names.

    Raises:
        ValueError: a tag outside `tag_names`, or arrays of different lengths.
    """
    return TokenReport("Token-level report (O included; not entity F1)", *_by_class(gold, predicted, tag_names))


def class_report(gold: ArrayLike, predicted: ArrayLike, names: Sequence[str], title: str = "Report by class") -> Report:
    """Return precision, recall and F1 of every class, as scikit-learn's classification_report.

    Args:
        gold: integers [P], index into `names`.
        predicted: integers [P], the same.
        names: names of the classes.
        title: title of the report.

    Raises:
        ValueError: a class outside `names`, or arrays of different lengths.
    """
    return Report(title, *_by_class(gold, predicted, names))


def label_report(
    gold: NDArray[np.bool_], predicted: NDArray[np.bool_], names: Sequence[str], title: str = "Report by label"
) -> Report:
    """Return precision, recall and F1 of labels of which a text has any number.

    Args:
        gold: bool [N, L], the labels that each text has.
        predicted: bool [N, L], those that it is given.
        names: names of the L labels.
        title: title of the report.

    Raises:
        ValueError: arrays of different shapes, or not a column per name.
    """
    _same_length(gold, predicted)
    if gold.shape[1:] != (len(names),):
        raise ValueError(f"gold has shape {gold.shape}, but there are {len(names)} names: give a column per name")
    return Report(title, *_averaged(names, *(flags.sum(0) for flags in (gold & predicted, predicted, gold))))


def accuracy(gold: ArrayLike, predicted: ArrayLike) -> float:
    """Return the fraction of correct positions, 0 to 1.

    Raises:
        ValueError: there are no positions, or the arrays have different lengths.
    """
    _same_length(gold, predicted)
    if not np.size(gold):
        raise ValueError("accuracy of no positions is undefined: give at least one")
    return float(np.mean(np.asarray(gold) == np.asarray(predicted)))


def cross_entropy(log_probs_of_targets: ArrayLike) -> float:
    """Return the mean of -log p(target) over positions, in nats; inf if a target has probability 0.

    Args:
        log_probs_of_targets: natural logarithms, at most 0, of any shape.

    Raises:
        ValueError: there are no positions, or a value is NaN or above 0.
    """
    logs = np.asarray(log_probs_of_targets, np.float64)
    if not logs.size:
        raise ValueError("cross-entropy of no positions is undefined: give at least one")
    if not (logs <= 1e-4).all():  # float32 log-softmax can round slightly above 0; NaN also fails
        worst = "NaN" if np.isnan(logs).any() else f"{logs.max():g}"
        raise ValueError(f"a log-probability is {worst}: natural logarithms of probabilities are at most 0")
    return float(-logs.mean())


def perplexity(log_probs_of_targets: ArrayLike) -> float:
    """Return the exponential of the cross-entropy, at least 1; inf beyond the range of a float.

    Raises:
        ValueError: as in `cross_entropy`.
    """
    with np.errstate(over="ignore"):
        return float(np.exp(cross_entropy(log_probs_of_targets)))


def flat_tags(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...], NDArray[np.int64]]:
    """Convert lists of tags to the arguments of a report: `entity_report(*flat_tags(gold, predicted))`.

    Returns:
        gold int64 [W], predicted int64 [W], tag names, offsets int64 [N + 1].

    Raises:
        ValueError: the numbers of texts, or of tags in a text, differ.
    """
    lengths = [len(tags) for tags in gold]
    if lengths != [len(tags) for tags in predicted]:
        raise ValueError("gold and predicted differ in the number of texts, or of tags in a text")
    names = tuple(sorted({tag for texts in (gold, predicted) for tags in texts for tag in tags} | {"O"}))
    index = {name: i for i, name in enumerate(names)}
    true, guess = (np.array([index[tag] for tags in texts for tag in tags], np.int64) for texts in (gold, predicted))
    return true, guess, names, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def _by_class(
    gold: ArrayLike, predicted: ArrayLike, names: Sequence[str]
) -> tuple[dict[str, Scores], Scores, Scores, Scores]:
    """Return the scores of each class that occurs, then micro, macro and weighted scores."""
    _same_length(gold, predicted)
    true, guess = _ids(gold, names, "gold"), _ids(predicted, names, "predicted")
    counts = [np.bincount(ids, minlength=len(names)) for ids in (true[true == guess], guess, true)]
    return _averaged(names, *counts)


def _averaged(
    names: Sequence[str], right: NDArray[np.int64], guessed: NDArray[np.int64], support: NDArray[np.int64]
) -> tuple[dict[str, Scores], Scores, Scores, Scores]:
    """Return the scores of each class that occurs, then micro, macro and weighted scores, from counts [n]."""
    occurs = (guessed + support) > 0
    right, guessed, support = right[occurs], guessed[occurs], support[occurs]
    by_class = _scores(right, guessed, support)  # [3, n]
    total = int(support.sum())
    kept = [name for name, there in zip(names, occurs, strict=True) if there]
    classes = {name: _row(by_class[:, i], int(support[i])) for i, name in enumerate(kept)}
    micro = _scores(*(np.array([counts.sum()]) for counts in (right, guessed, support)))[:, 0]
    macro = by_class.mean(axis=1) if kept else np.zeros(3)
    weighted = by_class @ support / max(1, total)
    return classes, _row(micro, total), _row(macro, total), _row(weighted, total)


def _row(values: NDArray[np.float64], support: int) -> Scores:
    """Return `Scores` from precision, recall and F1 [3]."""
    return Scores(float(values[0]), float(values[1]), float(values[2]), support)


def _scores(right: NDArray[np.int64], guessed: NDArray[np.int64], support: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return precision, recall and F1 from counts [n], float64 [3, n]; 0 if undefined."""
    precision = right / np.maximum(1, guessed)
    recall = right / np.maximum(1, support)
    return np.stack((precision, recall, 2 * right / np.maximum(1, guessed + support)))


def _ids(values: ArrayLike, names: Sequence[str], what: str) -> NDArray[np.int64]:
    """Return checked indices into `names`, int64 [W]."""
    given = np.asarray(values)
    ids: NDArray[np.int64] = given.astype(np.int64)
    if ids.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"{what} must be a flat array of integers, got {given.dtype} of shape {given.shape}")
    if ids.size and not (ids.min() >= 0 and ids.max() < len(names)):
        bad = int(ids[(ids < 0) | (ids >= len(names))][0])
        raise ValueError(f"{what}: tag {bad} is outside the {len(names)} tag names, 0 to {len(names) - 1}")
    return ids


def _same_length(gold: ArrayLike, predicted: ArrayLike) -> None:
    if np.shape(gold) != np.shape(predicted):
        raise ValueError(f"gold has shape {np.shape(gold)} and predicted {np.shape(predicted)}: they must be equal")


def _text_starts(offsets: ArrayLike | None, words: int) -> NDArray[np.int64]:
    """Return the starts of texts, int64 [N], after checking that offsets rise from 0 to the number of words."""
    bounds = np.array([0, words], np.int64) if offsets is None else np.asarray(offsets, np.int64)
    if bounds.ndim != 1 or not len(bounds) or bounds[0] != 0 or bounds[-1] != words or (np.diff(bounds) < 0).any():
        raise ValueError(f"offsets must rise from 0 to the {words} tags")
    return bounds[:-1][bounds[:-1] < words]
