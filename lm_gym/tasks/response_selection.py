"""Response selection: the right reply to a message, among candidates."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from lm_gym.bounds import PositiveInt, bounded
from lm_gym.data.columns import NumbersColumn, TextsColumn
from lm_gym.data.errors import DataError, TextError
from lm_gym.data.fields import CANDIDATES, RELEVANCE, TURNS, WORDS, Field
from lm_gym.tasks.baseline import RANDOM, Baseline
from lm_gym.tasks.bm25 import bm25_candidates
from lm_gym.tasks.candidate_texts import candidates_of
from lm_gym.tasks.candidates import (
    GRADED,
    OFFERED,
    AmongCandidates,
    best_candidates,
    check_candidates,
    refuse_empty,
    scored,
    ungraded,
)
from lm_gym.tasks.display import json_line
from lm_gym.tasks.metric import ACCURACY, Metric
from lm_gym.tasks.parts import Nouns, Part
from lm_gym.tasks.reply_bank import Reply, with_candidates

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_gym.data import Corpus, Dataset
    from lm_gym.tasks.baseline import Batch, Prediction
    from lm_gym.tasks.evaluation import DecidedText, Evaluation
    from lm_gym.tasks.task import Task

MESSAGE = replace(WORDS, columns=("message", "query", "question", "context", *WORDS.columns))
ANSWER = Field("answer", "numbers", ("answer", "answer_index", "correct", "gold", "label"), required=False)

REPLY = Field("reply", "text", ("reply", "response", "right_reply"), required=False)


@bounded
@dataclass(frozen=True)
class ResponseSelectionOptions:
    """Arguments of response selection.

    Args:
        bank: file of replies from which BM25 chooses the candidates; records then have the right `reply`. None:
            records have `candidates`
        head: how the policy scores a {choice}. `"pointer"`: it reads the message and all candidates as one text.
            `"similarity"`: it reads them apart, and compares their embeddings (two towers), so that only each of them
            must fit in `max_length`
        k: number of candidates from the bank
        abstain: whether there is one more {choice}, 0, which gives no reply
        marker: token behind the message and each candidate; None: the mask token, or the end-of-text token of a causal
            LM
        similarity: whether the policy adds the similarity of the context and a {choice} to its logit (only with
            `head="pointer"`)

    Raises:
        ValueError: `similarity=False` with `head="similarity"`.
    """

    bank: str | None = field(default=None, metadata={"file": True})
    head: Literal["pointer", "similarity"] = "pointer"
    k: PositiveInt = 5
    abstain: bool = False
    marker: str | None = None
    similarity: bool = True

    def __post_init__(self) -> None:
        if self.head == "similarity" and not self.similarity:
            raise ValueError("similarity=False leaves head='similarity' nothing to score with: omit one of them")


class ResponseSelection(AmongCandidates):
    """Select the right reply to a message.

    An episode is one message, with the turns before it and its candidate replies, and one position, so that a single
    step decides it. The action is the number of a candidate, from 0. With `abstain=True`, action 0 gives no reply, and
    candidates count from 1.

    The text is read as turns, message and candidates, with a marker behind the message and behind each candidate. The
    policy is a token classifier with one label: the logit of a candidate is the output at the candidate's marker, so
    candidates are compared with one another. With `similarity`, the policy adds how well the states of the context
    cover those of the candidate (late interaction). A context that is too long loses its first words. Candidates are
    never cut; if they do not fit in `max_length`, an error names those that do not fit.

    With `head="similarity"`, the context and each candidate are encoded apart, as texts of their own with a marker at
    their end. The token classifier maps their mean states to embeddings, and the logit of a candidate is 20 times the
    cosine of its embedding and that of the context.

    A record has a message, candidates, and the right candidate: `answer` (its index), `reply` (its text) or `relevance`
    (a number for each candidate, 0 if it is wrong). The gold choice is the first candidate with the highest relevance.
    If no candidate is relevant, the gold choice is to abstain.

    The reward `relevance` pays the relevance of the reply, and `-wrong_cost` for a wrong reply. `action_masks()` allows
    only the candidates of the text; any other number counts as a wrong reply.
    """

    name = "response_selection"
    env_id = "lm_gym/ResponseSelection-v0"
    fields = (MESSAGE, TURNS, OFFERED, GRADED, ANSWER, REPLY)
    builtin = "builtin/replies"
    metrics: ClassVar[tuple[Metric, ...]] = (
        ACCURACY,
        Metric("mrr", "MRR", lambda played: _reciprocal_rank(played), while_training=True),
        Metric("recall_at_2", "recall@2", lambda played: _recall(played, 2), in_terminal=False),
        Metric("recall_at_3", "recall@3", lambda played: _recall(played, 3), in_terminal=False),
        Metric("mean_relevance", "relevance", lambda played: float(_relevance(played).mean()), in_terminal=False),
        Metric("abstention_rate", "abstained", lambda played: _abstention_rate(played), lower_is_better=True),
        Metric("selective_risk", "risk", lambda played: _selective_risk(played), lower_is_better=True),
    )
    baselines = (
        RANDOM,
        Baseline("majority", "majority reply", lambda task: majority_reply(task)),
        Baseline("bm25", "BM25", bm25_candidates),
    )
    nouns = Nouns(choice="reply", choices="replies")
    Options = ResponseSelectionOptions

    @classmethod
    def prepare(cls, dataset: Dataset, options: ResponseSelectionOptions) -> Dataset:
        """Return the dataset with candidates and the relevance of each; of texts to predict, all are 0.

        Raises:
            DataError: a text has no candidates, no right candidate and no way to abstain, or several right replies.
        """
        if options.bank is not None:
            right = None
            if dataset.labelled:
                right = {split: _right_replies(split, corpus, options) for split, corpus in dataset.splits.items()}
            return with_candidates(dataset, right, options.bank, options.k)
        graded = _graded if dataset.labelled else _ungraded
        return replace(
            dataset, splits={split: graded(split, corpus, options) for split, corpus in dataset.splits.items()}
        )

    @classmethod
    def inputs(cls) -> tuple[Field, ...]:
        """Return the fields that a prediction needs: all that do not tell the right reply."""
        return MESSAGE, TURNS, OFFERED

    @classmethod
    def gold_of(cls, corpus: Corpus, options: ResponseSelectionOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the right reply of each text; choice 0 is to abstain, which is right if no candidate is."""
        best, relevant = best_candidates(corpus)
        return np.ones(len(corpus), np.int64), np.where(relevant, best + options.abstain, 0)

    def parts(self, text: DecidedText) -> list[Part]:
        """Return the turns, the message, the numbered candidates and the number of the reply."""
        return [*map(Part, self.shown_words(text.index)), Part("→"), Part("reply", slot=0)]

    def format_prediction(self, text: DecidedText) -> str:
        """Return a JSON object with the message, and the right and the selected reply; null if it abstains."""
        replies = {
            name: self.candidate_text(text.index, int(choices[0]))
            for name, choices in (("gold", text.targets), ("predicted", text.choices))
        }
        return json_line({"message": " ".join(self.corpus.text(text.index)), **replies})

    def predicted(self, text: DecidedText, spans: Any) -> dict[str, Any]:
        """Return `predicted`, the reply, which is None if it abstains, and `probability`, its own."""
        found = {key: values[0] for key, values in super().predicted(text, spans).items()}
        return {**found, "predicted": self.candidate_text(text.index, int(text.choices[0]))}


def _graded(split: str, corpus: Corpus, options: ResponseSelectionOptions) -> Corpus:
    """Return a split with the relevance of each candidate, for all three forms of records."""
    candidates = candidates_of(corpus)
    refuse_empty(split, candidates)
    told = [one.name for one in (RELEVANCE, ANSWER, REPLY) if one.name in corpus.columns]
    if len(told) != 1:
        has = f"have {' and '.join(told)}" if told else "do not tell the right reply"
        raise DataError(f"{split}: records {has}: give one of relevance, answer (an index) and reply (a text)")
    if told == [RELEVANCE.name]:
        relevance = cast(NumbersColumn, corpus.columns[RELEVANCE.name]).values
    else:
        right = _answers(split, corpus) if told == [ANSWER.name] else _found(split, corpus)
        relevance = np.zeros(len(candidates.item_offsets) - 1)
        relevance[candidates.offsets[:-1][right >= 0] + right[right >= 0]] = 1.0
    column = NumbersColumn("numbers", candidates.offsets, relevance)
    graded = replace(corpus, columns={**corpus.columns, RELEVANCE.name: column})
    check_candidates(split, graded)
    _, relevant = best_candidates(graded)
    if not options.abstain and not relevant.all():
        text = int(np.flatnonzero(~relevant)[0])
        raise TextError(split, text, "no candidate is right: add the right reply, or set abstain=True")
    return graded


def _ungraded(split: str, corpus: Corpus, options: ResponseSelectionOptions) -> Corpus:
    """Return texts to predict, checked, with a relevance of 0 for each candidate."""
    graded = ungraded(corpus)
    check_candidates(split, graded)
    return graded


def _answers(split: str, corpus: Corpus) -> NDArray[np.int64]:
    """Return the index of the right candidate of each text, int64 [N]; -1 if there is none."""
    column = cast(NumbersColumn, corpus.columns[ANSWER.name])
    if (column.lengths != 1).any():
        text = int(np.flatnonzero(column.lengths != 1)[0])
        raise TextError(split, text, f"{column.lengths[text]} answers: give the index of one candidate")
    counts = candidates_of(corpus).lengths
    wrong = (column.values % 1 != 0) | (column.values < -1) | (column.values >= counts)
    if wrong.any():
        text = int(np.flatnonzero(wrong)[0])
        raise TextError(
            split,
            text,
            f"answer {column.values[text]:g}, but there are {counts[text]} candidates: count "
            "them from 0; -1 means that none is right",
        )
    return column.values.astype(np.int64)


def _found(split: str, corpus: Corpus) -> NDArray[np.int64]:
    """Return the index of the candidate that is the right reply of each text, int64 [N]; -1 if there is none."""
    candidates = candidates_of(corpus)
    right = _replies(corpus)
    listed = ([tuple(words) for words in candidates.of(text)] for text in range(len(corpus)))
    return np.array([own.index(reply) if reply in own else -1 for own, reply in zip(listed, right, strict=True)])


def _right_replies(split: str, corpus: Corpus, options: ResponseSelectionOptions) -> list[Reply]:
    """Return the right reply of each text: its own field, or the best of its candidates."""
    if REPLY.name in corpus.columns:
        return _replies(corpus)
    if CANDIDATES.name not in corpus.columns:
        raise DataError(f"{split} has no right replies: a bank needs a column 'reply' with the right one of each text")
    graded = _graded(split, corpus, replace(options, abstain=False))
    candidates, (best, _) = candidates_of(graded), best_candidates(graded)
    return [tuple(candidates.item(item)) for item in (candidates.offsets[:-1] + best).tolist()]


def _replies(corpus: Corpus) -> list[Reply]:
    column = cast(TextsColumn, corpus.columns[REPLY.name])  # of one item each
    return [tuple(column.item(text)) for text in range(len(corpus))]


def majority_reply(task: Task) -> Callable[[Batch], Prediction]:
    """Return a predictor of the candidate that is most often the right one in the training split.

    Raises:
        ValueError: the dataset has no training split.
    """
    task = cast(ResponseSelection, task)
    if task.train is None:
        raise ValueError("the majority reply needs a training split")
    trained = candidates_of(task.train)
    best, relevant = best_candidates(task.train)
    right = (trained.offsets[:-1] + best)[relevant]
    counts = Counter(tuple(trained.item(item)) for item in right.tolist())
    return scored(task, lambda text: np.array([counts[tuple(words)] for words in task.candidates.of(text)], np.float64))


def _reciprocal_rank(played: Evaluation) -> float | None:
    return None if played.target_ranks is None else float((1.0 / played.target_ranks.astype(np.float64)).mean())


def _recall(played: Evaluation, k: int) -> float | None:
    return None if played.target_ranks is None else float((played.target_ranks <= k).mean())


def _relevance(played: Evaluation) -> NDArray[np.float64]:
    gains = played.task.gains(played.texts)
    assert gains is not None
    return gains[np.arange(len(gains)), played.choices]


def _abstention_rate(played: Evaluation) -> float | None:
    abstention = played.task.abstention
    return None if abstention is None else float((played.choices == abstention).mean())


def _selective_risk(played: Evaluation) -> float | None:
    """Return the share of wrong replies among those given; None if all are withheld or abstaining is not allowed."""
    answered = played.choices != played.task.abstention
    if played.task.abstention is None or not answered.any():
        return None
    return float((_relevance(played)[answered] <= 0).mean())
