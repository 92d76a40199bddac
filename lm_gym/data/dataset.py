"""A dataset: splits that share a vocabulary and a set of tags."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lm_gym.data.columns import Columns, Words
from lm_gym.data.corpus import Corpus, Sentence, fill
from lm_gym.data.errors import DataError, nearest
from lm_gym.data.few import few_texts
from lm_gym.data.overlap import overlaps, refuse_overlap, text_keys
from lm_gym.data.schemes import tag_names_of, types_of
from lm_gym.hashing import mix

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Named splits of texts.

    Attributes:
        name: what reports call it.
        splits: "train", "validation", "test", or some of them, in that order.
        overlap: for each pair of splits, how many texts of the smaller one stand in the other too.
        fingerprint: 16 hexadecimal digits of a SHA-256 over all content.
        notes: what a reader of results should know, such as overlap; one sentence each.
    """

    name: str
    splits: dict[str, Corpus]
    overlap: dict[tuple[str, str], int]
    fingerprint: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_splits(
        cls, name: str, splits: Mapping[str, Corpus], *, max_overlap: float = 0.1, notes: Sequence[str] = ()
    ) -> "Dataset":
        """A dataset of corpora that share one vocabulary and one set of tags.

        Args:
            name: what reports call it.
            splits: by name: train, validation, test, or some of them.
            max_overlap: the greatest part of a split, 0 to 1, that may stand in another split too.
            notes: what a reader of results should know.

        Raises:
            DataError: no splits, another name, splits that do not belong together, or too much overlap.
        """
        for split in splits:
            if split not in SPLITS:
                raise DataError(f"unknown split {split!r}{nearest(split, SPLITS)}: splits are {', '.join(SPLITS)}")
        ordered = {split: splits[split] for split in SPLITS if split in splits}
        if not ordered:
            raise DataError(f"dataset {name!r} has no split")
        first = next(iter(ordered.values()))
        for split, corpus in ordered.items():
            if corpus.vocabulary != first.vocabulary or corpus.tag_names != first.tag_names:
                raise DataError(
                    f"split {split} has a vocabulary or tags of its own: make them by Dataset.from_sentences"
                )
        counts = overlaps(ordered)
        refuse_overlap(ordered, counts, max_overlap)
        return cls(name, ordered, counts, _fingerprint(ordered), (*notes, *_overlap_notes(ordered, counts)))

    @classmethod
    def from_columns(
        cls,
        name: str,
        columns: Mapping[str, Columns],
        *,
        scheme: str = "auto",
        max_overlap: float = 0.1,
    ) -> "Dataset":
        """A dataset of what readers have gathered; of the types of train (of all splits without it).

        Raises:
            DataError: as `Corpus.from_columns` and `from_splits` do; tags in some splits only.
        """
        untagged = [split for split, column in columns.items() if not column.tags]
        tagged = [split for split in columns if split not in untagged]
        for column in columns.values():
            column.check()
        if untagged and tagged:
            raise DataError(
                f"{', '.join(tagged)} of {name} has tags and {', '.join(untagged)} has none: tag all, or none"
            )
        models = [columns["train"]] if "train" in columns else [*columns.values()]
        tag_names = tag_names_of(types_of([tag for column in models for tag in column.raw_tags])) if tagged else ()
        vocabulary = tuple(next(iter(columns.values())).vocabulary)
        splits = {
            split: Corpus.from_columns(column, vocabulary, tag_names, scheme) for split, column in columns.items()
        }
        remarks = [f"{split}: {remark}" for split, column in columns.items() for remark in column.remarks]
        return cls.from_splits(name, splits, max_overlap=max_overlap, notes=remarks)

    @classmethod
    def from_sentences(
        cls,
        name: str,
        train: Iterable[Sentence],
        validation: Iterable[Sentence] | None = None,
        test: Iterable[Sentence] | None = None,
        *,
        scheme: str = "auto",
        max_overlap: float = 0.1,
    ) -> "Dataset":
        """A dataset of `(words, tags)` pairs (tuples), or of lists of words.

        Args:
            name: what reports call it.
            train: texts of the training split.
            validation: texts to choose models by.
            test: texts to report on.
            scheme: of the tags, see `lm_gym.data.schemes.to_iob2`.
            max_overlap: the greatest part of a split, 0 to 1, that may stand in another split too.

        Raises:
            DataError: texts without words, tags that do not match, too much overlap.
        """
        words = Words()
        given = zip(SPLITS, (train, validation, test), strict=True)
        columns = {split: fill(f"{name}, {split}", texts, words) for split, texts in given if texts is not None}
        return cls.from_columns(name, columns, scheme=scheme, max_overlap=max_overlap)

    def __getitem__(self, split: str) -> Corpus:
        """The corpus of a split.

        Raises:
            DataError: the dataset has no such split; the message lists those it has.
        """
        if split not in self.splits:
            hint = "; with_holdout() makes one out of train" if split == "validation" and "train" in self.splits else ""
            raise DataError(
                f"dataset {self.name!r} has no split {split!r}{nearest(split, self.splits)}: "
                f"it has {', '.join(self.splits)}{hint}"
            )
        return self.splits[split]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The distinct words of all splits."""
        return next(iter(self.splits.values())).vocabulary

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The tags of all splits, empty for plain text."""
        return next(iter(self.splits.values())).tag_names

    def with_holdout(self, fraction: float = 0.1, seed: int = 0) -> "Dataset":
        """The dataset with a validation split taken out of train, or itself where it has one.

        Texts are chosen by a hash of the seed and their words, so that copies of a text stay together and
        no text ends on both sides.

        Raises:
            DataError: `fraction` outside (0, 1), no train split, or one that cannot be divided.
        """
        if "validation" in self.splits:
            return self
        if not 0 < fraction < 1:
            raise DataError(f"fraction={fraction:g} must lie between 0 and 1")
        train = self["train"]
        distinct, copy_of, copies = np.unique(text_keys(train), return_inverse=True, return_counts=True)
        if len(distinct) < 2:
            raise DataError(f"train of {self.name!r} has one distinct text: too few to hold some out")
        order = np.argsort(mix(seed, distinct), kind="stable")
        taken = np.cumsum(copies[order]) <= round(fraction * len(train))
        taken[0], taken[-1] = True, False  # one text at least on either side
        held = np.zeros(len(distinct), np.bool_)
        held[order[taken]] = True
        out = held[copy_of]
        splits = self.splits | {
            "train": train.take(np.flatnonzero(~out)),
            "validation": train.take(np.flatnonzero(out)),
        }
        return self._divided(
            splits, f"validation: {int(out.sum())} texts held out of train (fraction {fraction:g}, seed {seed})"
        )

    def with_few_texts(self, texts: int | None = None, per_type: int | None = None, seed: int = 0) -> "Dataset":
        """The dataset with a part of its training texts, its other splits whole.

        Args:
            texts: so many, see `lm_gym.data.few.few_texts`.
            per_type: or so many for each entity type.
            seed: which ones.

        Raises:
            DataError: no train split, or what `few_texts` refuses.
        """
        train = self["train"]
        splits = {**self.splits, "train": train.take(few_texts(train, texts, per_type, seed))}
        asked = f"{texts}" if per_type is None else f"{per_type} a type"
        return self._divided(splits, f"train: {len(splits['train'])} of {len(train)} texts ({asked}, seed {seed})")

    def _divided(self, splits: dict[str, Corpus], note: str) -> "Dataset":
        """Parts of the same texts in other splits; what overlaps is counted and noted anew."""
        kept = [old for old in self.notes if old not in _overlap_notes(self.splits, self.overlap)]
        return Dataset.from_splits(self.name, splits, max_overlap=1.0, notes=(*kept, note))

    def with_tag_names(self, tag_names: Sequence[str]) -> "Dataset":
        """The same texts with tags that index `tag_names`, as a model trained on other data needs them.

        Raises:
            DataError: plain text, or a tag in use that `tag_names` lacks.
        """
        if tuple(tag_names) == self.tag_names:
            return self
        splits = {split: corpus.with_tag_names(tag_names) for split, corpus in self.splits.items()}
        return Dataset(self.name, splits, self.overlap, _fingerprint(splits), self.notes)


def _overlap_notes(splits: Mapping[str, Corpus], counts: Mapping[tuple[str, str], int]) -> list[str]:
    notes = []
    for pair, count in counts.items():
        small, large = sorted(pair, key=lambda split: len(splits[split]))
        if count:
            notes.append(f"{count} of the {len(splits[small])} texts of {small} stand in {large} too")
    return notes


def _fingerprint(splits: Mapping[str, Corpus]) -> str:
    """16 hexadecimal digits of a SHA-256 over the vocabulary, the tag names and the arrays of each split."""
    digest = hashlib.sha256()
    first = next(iter(splits.values()))
    for names in (first.vocabulary, first.tag_names):
        for start in range(0, len(names), 4096):
            digest.update("\0".join(names[start : start + 4096]).encode("utf-8", "surrogatepass"))
        digest.update(b"\1")
    for split, corpus in splits.items():
        digest.update(f"{split} {len(corpus)} {corpus.offsets[-1]}\0".encode())
        for values in (corpus.words, corpus.offsets, corpus.tags):
            if values is not None:
                digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
    return digest.hexdigest()[:16]
