"""A dataset, whose splits share a vocabulary and a set of tags."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lm_gym.data.builder import CorpusBuilder
from lm_gym.data.corpus import Corpus, Sentence, fill, names_of_labels, parse_raw_tags
from lm_gym.data.errors import DataError, nearest
from lm_gym.data.few import few_texts
from lm_gym.data.field_builders import Words
from lm_gym.data.fingerprint import described, fingerprint_of
from lm_gym.data.notes import overlap_notes, type_notes, unread_notes
from lm_gym.data.overlap import overlaps, refuse_overlap, text_keys
from lm_gym.data.tags import tag_names_of, types_of
from lm_gym.data.word_labels import WordLabeller, label_each_word
from lm_gym.hashing import mix

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Named splits of texts.

    Attributes:
        name: its name in reports.
        splits: "train", "validation", "test", or some of them, in that order.
        overlap: for each pair of splits, the number of texts of the smaller split that also occur in the other.
        fingerprint: 16 hexadecimal digits of a SHA-256 over all content.
        notes: notes for readers of results, such as overlap; one sentence each.
        labelled: whether the texts have gold choices; False for texts to predict (`lm_gym.data.unlabelled`).
    """

    name: str
    splits: dict[str, Corpus]
    overlap: dict[tuple[str, str], int]
    fingerprint: str
    notes: tuple[str, ...] = ()
    labelled: bool = True

    @classmethod
    def from_splits(
        cls, name: str, splits: Mapping[str, Corpus], *, max_overlap: float = 0.1, notes: Sequence[str] = ()
    ) -> "Dataset":
        """Create a dataset from corpora that share a vocabulary and a set of tags.

        Args:
            name: its name in reports.
            splits: splits by name: train, validation, test, or some of them.
            max_overlap: maximum fraction of a split, 0 to 1, that may also occur in another split.
            notes: notes for readers of results.

        Raises:
            DataError: there are no splits, a name is unknown, splits do not belong together, or they overlap too much.
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
                    f"split {split} has its own vocabulary or tags: create the splits with Dataset.from_sentences"
                )
            if described(corpus) != described(first):
                raise DataError(f"split {split} has other columns or labels than {next(iter(ordered))}")
        counts = overlaps(ordered)
        refuse_overlap(ordered, counts, max_overlap)
        return cls(name, ordered, counts, fingerprint_of(ordered), (*notes, *overlap_notes(ordered, counts)))

    @classmethod
    def from_builders(
        cls,
        name: str,
        builders: Mapping[str, CorpusBuilder],
        *,
        scheme: str = "auto",
        max_overlap: float = 0.1,
        notes: Sequence[str] = (),
    ) -> "Dataset":
        """Create a dataset from builders; its types and labels are those of train, or of all splits without train.

        Raises:
            DataError: as in `Corpus.from_builder` and `from_splits`; or only some splits have tags or another field.
        """
        for builder in builders.values():
            builder.check()
        _check_fields(name, builders)
        models = [builders["train"]] if "train" in builders else [*builders.values()]
        raw_tags = parse_raw_tags(builders.values(), scheme)
        tag_names = tag_names_of(types_of(raw_tags[tag] for builder in models for tag in builder.raw_tags))
        vocabulary = tuple(next(iter(builders.values())).vocabulary)
        labels = names_of_labels(models)
        splits = {
            split: Corpus.from_builder(builder, vocabulary, tag_names, raw_tags, scheme, labels)
            for split, builder in builders.items()
        }
        remarks = [f"{split}: {note}" for split, builder in builders.items() for note in builder.notes()]
        notes = (*remarks, *type_notes(raw_tags), *unread_notes(builders.values()), *notes)
        return cls.from_splits(name, splits, max_overlap=max_overlap, notes=notes)

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
        """Create a dataset from `(words, tags)` pairs (tuples) or lists of words.

        Args:
            name: its name in reports.
            train: texts of the training split.
            validation: texts for choosing models.
            test: texts for reported results.
            scheme: scheme of the tags, see `lm_gym.data.schemes.to_iob2`.
            max_overlap: maximum fraction of a split, 0 to 1, that may also occur in another split.

        Raises:
            DataError: a text has no words, tags do not match the words, or splits overlap too much.
        """
        words = Words()
        given = zip(SPLITS, (train, validation, test), strict=True)
        builders = {split: fill(f"{name}, {split}", texts, words) for split, texts in given if texts is not None}
        return cls.from_builders(name, builders, scheme=scheme, max_overlap=max_overlap)

    def __getitem__(self, split: str) -> Corpus:
        """Return the corpus of a split.

        Raises:
            DataError: the split does not exist; the message lists the existing ones.
        """
        if split not in self.splits:
            hint = "; with_holdout() creates one from train" if split == "validation" and "train" in self.splits else ""
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
        """The tags of all splits; empty for plain text."""
        return next(iter(self.splits.values())).tag_names

    def with_holdout(self, fraction: float = 0.1, seed: int = 0) -> "Dataset":
        """Return the dataset with a validation split held out of train, or itself if it has one.

        Texts are chosen by a hash of the seed and their words, so that all copies of a text end up in the same split.

        Raises:
            DataError: `fraction` is outside (0, 1), or no train split can be divided.
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
        taken[0], taken[-1] = True, False  # at least one text on each side
        held = np.zeros(len(distinct), np.bool_)
        held[order[taken]] = True
        out = held[copy_of]
        splits = self.splits | {
            "train": train.take(np.flatnonzero(~out)),
            "validation": train.take(np.flatnonzero(out)),
        }
        count = int(out.sum())
        held_out = f"{count} {'text' if count == 1 else 'texts'} held out of train"
        return self._divided(splits, f"validation: {held_out} (fraction {fraction:g}, seed {seed})")

    def with_few_texts(self, texts: int | None = None, per_type: int | None = None, seed: int = 0) -> "Dataset":
        """Return the dataset with only some of its training texts; other splits stay complete.

        Args:
            texts: number of texts, see `lm_gym.data.few.few_texts`.
            per_type: alternatively, number of texts for each entity type or label.
            seed: seed of the choice.

        Raises:
            DataError: there is no train split, or as in `few_texts`.
        """
        train = self["train"]
        splits = {**self.splits, "train": train.take(few_texts(train, texts, per_type, seed))}
        asked = f"{texts}" if per_type is None else f"{per_type} per type"
        return self._divided(splits, f"train: {len(splits['train'])} of {len(train)} texts ({asked}, seed {seed})")

    def _divided(self, splits: dict[str, Corpus], note: str) -> "Dataset":
        """Return the same texts in other splits, with overlaps counted again."""
        kept = [old for old in self.notes if old not in overlap_notes(self.splits, self.overlap)]
        return Dataset.from_splits(self.name, splits, max_overlap=1.0, notes=(*kept, note))

    def with_tag_names(self, tag_names: Sequence[str]) -> "Dataset":
        """Return the same texts with tags that index `tag_names`, for a model trained on other data.

        Raises:
            DataError: the corpus has no tags, or `tag_names` lacks a tag that is used.
        """
        if tuple(tag_names) == self.tag_names:
            return self
        splits = {split: corpus.with_tag_names(tag_names) for split, corpus in self.splits.items()}
        return Dataset(self.name, splits, self.overlap, fingerprint_of(splits), self.notes)

    def with_word_labels(self, label: WordLabeller, names: Sequence[str]) -> "Dataset":
        """Return texts with a label for each word, for tasks that derive their labels from plain text.

        Args:
            label: maps the words of a text to new words and the index of each word's label; texts that become empty
                are removed.
            names: names of the labels.

        Raises:
            DataError: the numbers of words and labels differ, a label is outside `names`, or a split becomes empty.
        """
        splits = label_each_word(self.name, self.splits, label, names)
        return Dataset.from_splits(self.name, splits, max_overlap=1.0, notes=self.notes)

    def with_label_names(self, name: str, label_names: Sequence[str]) -> "Dataset":
        """Return the same texts with the labels in column `name` renumbered to those of a trained model.

        Raises:
            DataError: the column does not exist, or `label_names` lacks a label that is used.
        """
        splits = {split: corpus.with_label_names(name, label_names) for split, corpus in self.splits.items()}
        return Dataset(self.name, splits, self.overlap, fingerprint_of(splits), self.notes)


def _check_fields(name: str, builders: Mapping[str, CorpusBuilder]) -> None:
    """Raise DataError if only some splits have tags or another field."""
    held = {split: [*["tags"][: len(builder.tags)], *builder.fields] for split, builder in builders.items()}
    for field in dict.fromkeys(field for fields in held.values() for field in fields):
        with_it = [split for split in held if field in held[split]]
        without = [split for split in held if split not in with_it]
        if without:
            raise DataError(
                f"{', '.join(with_it)} of {name} has {field} and {', '.join(without)} has none: give all, or none"
            )
