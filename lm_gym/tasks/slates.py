"""Rankings of slates: predictors by scores of candidates, and metrics of what was ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.data.columns import NumbersColumn
from lm_gym.data.errors import TextError
from lm_gym.data.fields import CANDIDATES, Field
from lm_gym.hashing import mix
from lm_gym.ranking import Clicked, clicked, discounts, ideal, repeated
from lm_gym.tasks.baseline import Prediction
from lm_gym.tasks.candidate_texts import candidates_of
from lm_gym.tasks.candidates import AmongCandidates, item_keys, relevance_of

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tasks.baseline import Batch
    from lm_gym.tasks.evaluation import Evaluation

Score = Callable[[int], NDArray[np.float64]]
"""Maps a text to the scores of its candidates."""

POPULARITY = Field("popularity", "numbers", ("popularity", "views"), required=False, beside=CANDIDATES.name)
CLICKS = Field("clicks", "numbers", ("clicks", "clicked"), required=False, beside=CANDIDATES.name)
PROPENSITY = Field("propensity", "numbers", ("propensity", "propensities"), required=False, beside=CANDIDATES.name)
_RANDOM = 0xCA  # key of random scores


def by_rank(task: AmongCandidates, score: Score) -> Callable[[Batch], Prediction]:
    """Return a predictor that ranks the candidates of each text by scores, ties in their order.

    Args:
        task: the task.
        score: maps a text to the scores of its candidates.
    """

    def predict(batch: Batch) -> Prediction:
        table = np.full((len(batch.text_index), task.shape.choices), -np.inf)
        for row, text in enumerate(batch.text_index.tolist()):
            scores = score(text)
            table[row, : len(scores)] = scores
        order = np.argsort(-table, axis=1, kind="stable")
        return Prediction(order[:, : batch.targets.shape[1]], None)

    return predict


def random_scores(task: AmongCandidates) -> Score:
    """Return random scores, the same at each rank of a text."""
    slots = np.arange(task.shape.choices)

    def score(text: int) -> NDArray[np.float64]:
        count = int(task.candidates.lengths[text])
        return mix(_RANDOM, np.uint64(text), slots[:count]).astype(np.float64)

    return score


def popularity(task: AmongCandidates) -> Score:
    """Return a function that maps a text to the popularity of its candidates.

    That is the field `popularity` or, if the data lacks it, how often an item was relevant in the training split.

    Raises:
        ValueError: the dataset has neither.
    """
    given = task.corpus.columns.get(POPULARITY.name)
    if isinstance(given, NumbersColumn):
        return lambda text: np.asarray(given.of(text), np.float64)
    if task.train is None:
        raise ValueError("the popularity of items needs a column 'popularity' or a training split")
    trained, relevance = candidates_of(task.train), relevance_of(task.train).values
    liked = Counter(tuple(trained.item(item)) for item in np.flatnonzero(relevance > 0).tolist())
    return lambda text: np.array([liked[tuple(words)] for words in task.candidates.of(text)], np.float64)


# ---------------------------------------------------------------------- metrics


def _ranked(played: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the choice at each rank, int64 [M, T], n where a text has fewer ranks; and numbers of ranks, int64 [M]."""
    counts = np.diff(played.offsets)
    inside = np.arange(counts.max()) < counts[:, None]
    choices = np.full(inside.shape, played.task.shape.choices)
    choices[inside] = played.choices
    return choices, counts


def gained(played: Evaluation) -> NDArray[np.float64]:
    """Return the relevance of the choice at each rank, float64 [M, T]; 0 for one that a higher rank has made."""
    choices, _ = _ranked(played)
    gains = played.task.gains(played.texts)
    assert gains is not None
    worth = np.take_along_axis(np.pad(gains, ((0, 0), (0, 1))), choices, axis=1)
    return np.where(repeated(choices), 0.0, worth)


def ndcg(played: Evaluation) -> NDArray[np.float64]:
    """Return the discounted gain of each ranking, divided by that of the best one, float64 [M]."""
    found, gains = gained(played), played.task.gains(played.texts)
    assert gains is not None
    return np.asarray(found @ discounts(found.shape[1]) / ideal(gains, found.shape[1]))


def reciprocal_rank(played: Evaluation) -> NDArray[np.float64]:
    """Return 1 / rank of the first relevant item of each ranking, float64 [M]; 0 if it has none."""
    relevant = gained(played) > 0
    return np.where(relevant.any(1), 1.0 / (1.0 + relevant.argmax(1)), 0.0)


def coverage(played: Evaluation) -> float:
    """Return the share of the items of the played slates that are ranked first at least once."""
    keys, offered, first = _first(played)
    return len(np.unique(keys[first])) / len(np.unique(keys[offered]))


def _first(played: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the key of each item of the split, the items of the played slates, and those ranked first."""
    column = cast(AmongCandidates, played.task).candidates
    offered, _ = ragged.take_rows(column.offsets, played.texts)
    choices = _ranked(played)[0][:, 0]
    there = choices < column.lengths[played.texts]
    return item_keys(column), np.asarray(offered), (column.offsets[played.texts] + choices)[there]


def popularity_bias(played: Evaluation) -> float | None:
    """Return by how much the first item is more popular than its slate: the mean difference of percentiles, -1 to 1.

    The percentile of an item is the share of its slate that is less popular, ties counting half; the mean of a slate is
    one half. None if the popularity is unknown.
    """
    task = cast(AmongCandidates, played.task)
    column = task.corpus.columns.get(POPULARITY.name)
    if not isinstance(column, NumbersColumn):
        return None
    choices = _ranked(played)[0][:, 0]
    values, inside = _by_slate(column, played)
    lengths = inside.sum(1)
    own = np.take_along_axis(values, np.minimum(choices, lengths - 1)[:, None], axis=1)
    below = ((values < own) & inside).sum(1) + 0.5 * ((values == own) & inside).sum(1)
    return float((below / lengths - 0.5).mean() * 2)


def clicks_of(played: Evaluation) -> Clicked | None:
    """Return the discounted clicks of the rankings, estimated from logged ones; None if the data has no propensities.

    The clicks are the field `clicks` or, if the data lacks it, the relevance.
    """
    columns = played.task.corpus.columns
    propensity = columns.get(PROPENSITY.name)
    if not isinstance(propensity, NumbersColumn):
        return None
    log = columns.get(CLICKS.name)
    log = log if isinstance(log, NumbersColumn) else relevance_of(played.task.corpus)
    choices, _ = _ranked(played)
    weights = np.zeros((len(choices), played.task.shape.choices + 1))
    ranks = np.where(repeated(choices), 0.0, discounts(choices.shape[1]))
    np.add.at(weights, (np.arange(len(choices))[:, None], choices), ranks)
    values, inside = _by_slate(propensity, played)
    return clicked(_by_slate(log, played)[0], np.where(inside, values, 1.0), weights[:, :-1])


def _by_slate(column: NumbersColumn, played: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers of the candidates of each text, float64 [M, n], 0 where padded; and where there are any."""
    slots = np.arange(played.task.shape.choices)
    inside = slots < column.lengths[played.texts][:, None]
    values = ragged.with_margin(column.values, len(slots))[column.offsets[played.texts][:, None] + slots]
    return np.where(inside, values, 0.0), inside


def check_log(split: str, corpus: Corpus) -> None:
    """Check the clicks and propensities of a split.

    Raises:
        DataError: clicks are negative, or propensities not in (0, 1].
    """
    for field, low, high in ((CLICKS, 0.0, np.inf), (PROPENSITY, np.nextafter(0, 1), 1.0)):
        column = corpus.columns.get(field.name)
        if isinstance(column, NumbersColumn):
            wrong = np.flatnonzero((column.values < low) | (column.values > high))
            if wrong.size:
                text = int(np.searchsorted(column.offsets, wrong[0], side="right")) - 1
                wanted = "0 or more" if field is CLICKS else "a probability above 0"
                raise TextError(split, text, f"{field.name} {column.values[wrong[0]]:g}: give {wanted}")
