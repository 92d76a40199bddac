"""Prediction of texts without gold: records in, the same records with predictions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.data import Corpus, DataError, Dataset
from lm_gym.data.errors import TextError
from lm_gym.data.fields import Field
from lm_gym.data.frames import rows_of
from lm_gym.data.stream import RecordStream
from lm_gym.data.unlabelled import Record, UnlabelledReader, UnlabelledTexts, without_gold
from lm_gym.envs import TextVectorEnv
from lm_gym.tasks import Task

SPLIT = "test"  # of the dataset that holds texts to predict
CHUNK = 4096  # texts read and predicted at a time, sorted by length

MakeEnv = Callable[[Dataset, int], TextVectorEnv]
"""Create an evaluation environment over the split "test" of a dataset, with a given number of rows."""


@dataclass
class Counts:
    """Numbers of texts.

    Attributes:
        texts: texts read.
        blank: texts without words, which have no prediction.
        undecided: texts without a position to decide, such as a mask.
        cut: texts that `max_length` cuts.
    """

    texts: int = 0
    blank: int = 0
    undecided: int = 0
    cut: int = 0

    def notes(self, task: type[Task], max_length: int) -> list[str]:
        """Return a note for each number that readers of the predictions should know."""
        found = (
            (self.blank, "have no words, and no prediction"),
            (self.undecided, f"have no {task.nouns.position} to decide"),
            (self.cut, f"are longer than max_length={max_length} and lose their ends"),
        )
        return [f"{count:,} of {self.texts:,} texts {what}" for count, what in found if count]


class Predicted(NamedTuple):
    """A record with its predictions.

    Attributes:
        record: the record as it was given.
        found: the predictions (`Task.predicted`); `{"predicted": None}` if the text has no position to decide.
        words: its words; none if it has no prediction.
    """

    record: Mapping[str, Any]
    found: dict[str, Any]
    words: list[str]

    def merged(self) -> dict[str, Any]:
        """Return the record with the predictions added."""
        return {**self.record, **self.found}


@dataclass
class Predictor:
    """Predict records with a policy.

    Args:
        task: the task of the policy.
        make_env: creates the environments in which texts are played.
        make_policy: creates the policy for the first of these environments.
        rows: maximum number of texts in a batch.
        names: names of the choices; empty if they are vocabulary ids.

    Attributes:
        counts: numbers of the texts predicted so far.
    """

    task: type[Task]
    make_env: MakeEnv
    make_policy: Callable[[TextVectorEnv], LMPolicy]
    rows: int
    names: Sequence[str] = ()
    counts: Counts = field(default_factory=Counts)
    _policy: LMPolicy | None = None

    def predict(self, stream: RecordStream, chunk: int = CHUNK) -> Iterator[Predicted]:
        """Yield every record with its predictions, in order.

        Memory is bounded: only `chunk` records are in memory at a time.

        Args:
            stream: the records.
            chunk: number of records.

        Raises:
            DataError: a record cannot be read, or has a key of its own that a prediction needs.
        """
        reader = UnlabelledReader(stream.place, stream.unit, stream.options, self.task.split)
        records = iter(stream.records)
        while part := [*islice(records, chunk)]:
            texts = reader.read(part)
            try:
                predictions = self._predict(texts)
            except TextError as error:
                number, _ = part[texts.rows[error.text]]
                raise DataError(f"{stream.place}, {stream.unit} {number}: {error.fault}") from None
            for row, (number, record) in enumerate(part):
                found, words = predictions.get(row, ({"predicted": None}, []))
                taken = [key for key in found if key in record]
                if taken:
                    place = f"{stream.place}, {stream.unit} {number}"
                    raise DataError(f"{place}: has a key {taken[0]!r}, which a prediction needs: rename it")
                yield Predicted(record, found, words)
            self.counts.texts += len(part)
            self.counts.blank += len(part) - len(texts.rows)

    def _predict(self, texts: UnlabelledTexts) -> dict[int, tuple[dict[str, Any], list[str]]]:
        """Return predictions and words by the index of their record."""
        corpus = texts.corpus
        if corpus is None:
            return {}
        env = self.make_env(unlabelled(self.task, corpus, self.names), _even_rows(len(corpus), self.rows))
        self._policy = self._policy or self.make_policy(env)
        positions = env.task.encoded.counts
        if len(positions) != len(corpus):
            raise DataError(
                f"{self.task.env_id} makes {len(positions)} texts of {len(corpus)}: to predict, it needs an "
                "encode_unlabelled that keeps one for each"
            )
        self.counts.cut += env.cut.texts
        self.counts.undecided += int((positions == 0).sum())
        if not positions.any():
            return {}
        found = {}
        for text in evaluate(self._policy, env, texts=np.flatnonzero(positions)):
            words, spans = env.task.corpus.text(text.index), texts.spans[text.index]
            prepared = env.task.corpus is not corpus and words != corpus.text(text.index)
            predictions = env.task.predicted(text, None if prepared else spans)
            if prepared and self.task.by_word:  # the task has changed the words
                predictions = {"words": words, **predictions}
            found[texts.rows[text.index]] = predictions, words
        return found


def input_fields(task: type[Task], names: Iterable[str] | None) -> tuple[Field, ...]:
    """Return the fields that a prediction reads, all of them required.

    Args:
        task: the task.
        names: names of the fields that the model was trained with; None for those that the task requires.
    """
    words, *others = task.inputs()
    wanted = [each for each in others if (each.required if names is None else each.name in [*names])]
    return (words, *(replace(each, required=True) for each in wanted))


def unlabelled(task: type[Task], corpus: Corpus, names: Sequence[str]) -> Dataset:
    """Return a dataset of texts to predict."""
    return Dataset("input", {SPLIT: without_gold(corpus, task.fields, names)}, {}, "", labelled=False)


def as_records(texts: Iterable[str | Sequence[str] | Mapping[str, Any]]) -> Iterator[Record]:
    """Yield texts as records with their indices: strings as `text`, lists of words as `tokens`, rows of frames as such.

    Raises:
        DataError: a text has another type, or `texts` is a single text.
    """
    if isinstance(texts, str | bytes | Mapping):
        kind = "a string" if isinstance(texts, str) else "one record" if isinstance(texts, Mapping) else "bytes"
        raise DataError(f"{texts!r:.60} is {kind}: give a list of texts")
    rows = rows_of(texts)
    for index, text in enumerate(texts if rows is None else rows):
        if isinstance(text, str):
            yield index, {"text": text}
        elif isinstance(text, Mapping):
            yield index, text
        elif isinstance(text, list | tuple):
            yield index, {"tokens": [*text]}
        else:
            raise DataError(f"text {index} is {text!r:.60}: give a string, a list of words, or a dict")


def _even_rows(texts: int, most: int) -> int:
    """Return the number of rows that splits texts into batches of similar size."""
    batches = -(-texts // most)
    return -(-texts // batches)
