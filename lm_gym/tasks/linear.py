"""Classical baselines: logistic regression on TF-IDF features of words and word pairs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from lm_gym.data.columns import LabelColumn, TextsColumn
from lm_gym.data.fields import LABEL, LABELS
from lm_gym.tasks.baseline import Batch, Prediction, by_probability, unigram

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tasks.task import Task

_C = 10.0  # inverse strength of the penalty
_ITERATIONS = 1000
_UNSEEN = -30.0  # log-probability of a label that no training text has


def tfidf_regression(task: Task) -> Callable[[Batch], Prediction]:
    """Fit scikit-learn's logistic regression on the training split of a task with one label per text.

    The features are the sublinear TF-IDF values of lower-case words and pairs of adjacent words. If all training texts
    have the same label, the baseline predicts that label.

    Raises:
        ValueError: the dataset has no training split.
    """
    train, labels = _trained_on(task, LABEL.name)
    if len(np.unique(labels.values)) < 2:
        return unigram(task)
    learned, played = _features(train, task.corpus)
    model = _regression().fit(learned, labels.values)
    scores = np.full((len(task.corpus), task.shape.choices), _UNSEEN, np.float32)
    scores[:, model.classes_] = model.predict_log_proba(played)
    choices = scores.argmax(1)

    def predict(batch: Batch) -> Prediction:
        rows = batch.text_index[:, None]
        gold = scores[rows, np.minimum(batch.targets, task.shape.choices - 1)]
        return Prediction(choices[rows], gold, scores[rows, choices[rows]])

    return predict


def tfidf_one_vs_rest(task: Task) -> Callable[[Batch], Prediction]:
    """Fit a logistic regression for each label on the training split of a task with any number of labels per text.

    The features are those of `tfidf_regression`. A label that all training texts have, or none, is predicted for all
    texts, or for none.

    Raises:
        ValueError: the dataset has no training split.
    """
    train, labels = _trained_on(task, LABELS.name)
    learned, played = _features(train, task.corpus)
    shares = np.empty((len(task.corpus), len(labels.names)))
    for number, has in enumerate(labels.flags().T):
        if has.all() or not has.any():
            shares[:, number] = has[0]
        else:
            shares[:, number] = _regression().fit(learned, has).predict_proba(played)[:, 1]
    return by_probability(lambda texts: shares[texts])


def _trained_on(task: Task, field: str) -> tuple[Corpus, LabelColumn]:
    """Return the training split and its labels."""
    if task.train is None:
        raise ValueError("TF-IDF and logistic regression need a labelled training split")
    column = task.train.columns[field]
    assert isinstance(column, LabelColumn)
    return task.train, column


def _features(train: Corpus, corpus: Corpus) -> tuple[Any, Any]:
    """Return the TF-IDF features of the training texts and of those to predict, as sparse matrices."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    features = TfidfVectorizer(analyzer=_words_and_pairs, sublinear_tf=True)
    return features.fit_transform(_texts(train)), features.transform(_texts(corpus))


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_C, max_iter=_ITERATIONS)


def _texts(corpus: Corpus) -> list[list[str]]:
    """Return the lower-case words of each text; words of its second text are marked with a bar."""
    texts = [[word.lower() for word in corpus.text(number)] for number in range(len(corpus))]
    for column in corpus.columns.values():
        if isinstance(column, TextsColumn):
            for number, words in enumerate(texts):
                words += [f"|{word.lower()}" for item in column.of(number) for word in item]
    return texts


def _words_and_pairs(words: list[str]) -> list[str]:
    return words + [f"{one} {other}" for one, other in pairwise(words)]
