"""Recommendation: ranking a slate of items for a user, by the texts of items that the user liked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.bounds import PositiveInt, bounded
from lm_gym.data.errors import DataError, TextError
from lm_gym.data.fields import CANDIDATES, RELEVANCE, TURNS, WORDS, Field
from lm_gym.ranking import Clicked
from lm_gym.tasks import slates
from lm_gym.tasks.baseline import Baseline
from lm_gym.tasks.bm25 import bm25_scores
from lm_gym.tasks.candidate_texts import candidates_of
from lm_gym.tasks.candidates import (
    AmongCandidates,
    best_candidates,
    by_relevance,
    check_candidates,
    ungraded,
)
from lm_gym.tasks.display import json_line
from lm_gym.tasks.metric import Metric
from lm_gym.tasks.parts import Nouns, Part
from lm_gym.tasks.slates import CLICKS, POPULARITY, PROPENSITY, by_rank
from lm_gym.tasks.task import HeadKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_gym.data import Corpus, Dataset
    from lm_gym.tasks.baseline import Batch, Prediction
    from lm_gym.tasks.evaluation import DecidedText, Evaluation
    from lm_gym.tasks.slates import Score
    from lm_gym.tasks.steps import Progress
    from lm_gym.tasks.task import Task

LIKED = replace(WORDS, columns=("liked", "last_liked", "recent", "query", *WORDS.columns))
HISTORY = replace(TURNS, columns=("history", "liked_before", *TURNS.columns))
SLATE = replace(CANDIDATES, columns=("candidates", "slate", "items", *CANDIDATES.columns))
GAINS = replace(RELEVANCE, columns=("relevance", "ratings", "clicks", *RELEVANCE.columns), required=False)


def _clicks(name: str, played: Evaluation) -> float | None:
    estimated = slates.clicks_of(played)
    return None if estimated is None else float(getattr(estimated, name))


def _ranked_by(scores: Callable[[AmongCandidates], Score], task: Task) -> Callable[[Batch], Prediction]:
    return by_rank(cast(AmongCandidates, task), scores(cast(AmongCandidates, task)))


@bounded
@dataclass(frozen=True)
class RecommendationOptions:
    """Arguments of recommendation.

    Args:
        k: number of ranks to decide; a shorter slate is ranked whole
        marker: token behind the history and each {choice}; None: the mask token, or the end-of-text token of a causal
            LM
        similarity: whether the policy adds the similarity of the history and an {choice} to its logit
    """

    k: PositiveInt = 3
    marker: str | None = None
    similarity: bool = True

    abstain: ClassVar[bool] = False
    head: ClassVar[HeadKind] = "pointer"


class Recommendation(AmongCandidates):
    """Rank a slate of items for a user.

    An episode is one user with a slate. The text holds the items that the user liked, oldest first, and the candidates,
    with a marker behind the history and behind each candidate. Positions are the ranks 1 to k, and the action at a rank
    is the number of a candidate, from 0. With `k=1`, the action picks one item.

    No item has two ranks: `action_mask`, which observations always have, leaves out the candidates that are ranked
    already and those that a slate lacks. Such a choice pays nothing. With `unit="sequence"` and k > 1, an episode has a
    step for each rank, and `due` shows it; the rest of an action is ignored.

    The policy is a token classifier with one label. The logit of a candidate is its output at the candidate's marker.
    With `similarity`, the policy adds how well the states of the history cover those of the candidate (late
    interaction). A history that is too long loses its oldest words. Candidates are always read whole; if they do not
    fit in `max_length`, an error names those that fall out.

    A record has the item that the user liked last (`liked`), those before it (`history`), `candidates`, and the
    `relevance` of each candidate: 0 or more, such as a rating or a click. The gold choices are the candidates in the
    order of their relevance. Supervised learning learns to pick the first of them, by cross-entropy over the slate.
    """

    name = "recommendation"
    env_id = "lm_gym/Recommendation-v0"
    fields = (LIKED, HISTORY, SLATE, GAINS, POPULARITY, CLICKS, PROPENSITY)
    builtin = "builtin/recommendations"
    default_reward = "ndcg"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("ndcg", "NDCG@k", lambda played: float(slates.ndcg(played).mean()), while_training=True),
        Metric("hit_rate", "hit rate@k", lambda played: float((slates.gained(played) > 0).any(1).mean())),
        Metric("mrr_at_k", "MRR@k", lambda played: float(slates.reciprocal_rank(played).mean())),
        Metric("coverage", "coverage", slates.coverage),
        Metric("popularity_bias", "popularity bias", slates.popularity_bias, in_terminal=False),
        *(
            Metric(f"{name}_clicks", f"clicks, {name}", partial(_clicks, name), in_terminal=False)
            for name in Clicked._fields
        ),
    )
    baselines = tuple(
        Baseline(name, label, partial(_ranked_by, scores))
        for name, label, scores in (
            ("random", "random", slates.random_scores),
            ("popularity", "popularity", slates.popularity),
            ("bm25", "BM25", bm25_scores),
        )
    )
    nouns = Nouns(position="rank", positions="ranks", choice="item", choices="items")
    ranked = False
    masked = True
    static_masks = False
    Options = RecommendationOptions

    # ------------------------------------------------------------------ data

    @classmethod
    def prepare(cls, dataset: Dataset, options: RecommendationOptions) -> Dataset:
        """Return the dataset, checked; texts to predict get a relevance of 0.

        Raises:
            DataError: a slate is empty, lists an item twice, or has no relevant item; or a relevance is negative.
        """
        splits = {split: _graded(split, corpus, dataset.labelled) for split, corpus in dataset.splits.items()}
        return replace(dataset, splits=splits)

    @classmethod
    def inputs(cls) -> tuple[Field, ...]:
        """Return the fields that a prediction needs: all but the relevance and the popularity."""
        return LIKED, HISTORY, SLATE

    @classmethod
    def gold_of(cls, corpus: Corpus, options: RecommendationOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the best items of each slate in their order, k or all."""
        sizes = candidates_of(corpus).lengths
        counts = np.minimum(sizes, options.k)
        order = by_relevance(corpus)
        rank = np.arange(len(order)) - np.repeat(ragged.to_offsets(sizes)[:-1], sizes)
        return counts, order[rank < np.repeat(counts, sizes)]

    # ------------------------------------------------------------------ dynamics

    @classmethod
    def learned_from(cls, options: RecommendationOptions) -> RecommendationOptions:
        """Learn to pick the most relevant item."""
        return replace(options, k=1)

    @classmethod
    def explored_in(cls, options: RecommendationOptions) -> dict[str, Any]:
        """Decide rank by rank, which reads each slate once."""
        return {"unit": "token"} if options.k > 1 else {}

    @property
    def in_steps(self) -> bool:
        """Whether there is more than one rank."""
        return bool(self.options.k > 1)

    @property
    def distinct(self) -> bool:
        """Whether there is more than one rank: no item has two."""
        return self.in_steps

    def due(self, progress: Progress) -> NDArray[np.bool_]:
        """Return the next rank, bool [N, T]."""
        return np.asarray(progress.open & (np.arange(self.shape.positions) == progress.decided[:, None]))

    def legal(self, predictions: NDArray[np.int64], cursor: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the items without a rank, bool [N, n]."""
        legal = np.ones((len(predictions), self.shape.choices + 1), np.bool_)
        np.put_along_axis(legal, predictions, values=False, axis=1)
        return legal[:, :-1]

    # ------------------------------------------------------------------ display

    def parts(self, text: DecidedText) -> list[Part]:
        """Return the history, the numbered candidates and the ranks."""
        ranks = [Part(f"#{rank + 1}", slot=rank) for rank in range(len(text.targets))]
        return [*map(Part, self.shown_words(text.index)), Part("→"), *ranks]

    def format_prediction(self, text: DecidedText) -> str:
        """Return a JSON object with the item liked last, and the ideal and the predicted ranking."""
        rankings = {"gold": self._items(text.index, text.targets), "predicted": self._items(text.index, text.choices)}
        return json_line({"liked": " ".join(self.corpus.text(text.index)), **rankings})

    def predicted(self, text: DecidedText, spans: Any) -> dict[str, Any]:
        """Return the items of the ranks, best first, as `predicted`."""
        return {"predicted": self._items(text.index, text.choices)}

    def _items(self, text: int, choices: NDArray[np.int64]) -> list[str | None]:
        return [self.candidate_text(text, choice) for choice in choices.tolist()]


def _graded(split: str, corpus: Corpus, labelled: bool) -> Corpus:
    """Return a split whose slates are checked."""
    if not labelled:
        corpus = ungraded(corpus)
    elif RELEVANCE.name not in corpus.columns:
        raise DataError(f"{split} has no relevance: give each text a number for each candidate")
    check_candidates(split, corpus)
    slates.check_log(split, corpus)
    _, relevant = best_candidates(corpus)
    if labelled and not relevant.all():
        text = int(np.flatnonzero(~relevant)[0])
        raise TextError(split, text, "no candidate is relevant, so nothing can be ranked: leave it out")
    return corpus
