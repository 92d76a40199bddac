"""A classical baseline: logistic regression on TF-IDF features of words and word pairs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lm_gym.data.columns import LabelColumn, TextsColumn
from lm_gym.data.fields import LABEL
from lm_gym.tasks.baseline import Batch, Prediction, unigram

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
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train = task.train
    if train is None:
        raise ValueError("TF-IDF and logistic regression need a labelled training split")
    column = train.columns[LABEL.name]
    assert isinstance(column, LabelColumn)
    labels = column.values
    if len(np.unique(labels)) < 2:
        return unigram(task)
    features = TfidfVectorizer(analyzer=_words_and_pairs, sublinear_tf=True)
    model = LogisticRegression(C=_C, max_iter=_ITERATIONS)
    model.fit(features.fit_transform(_texts(train)), labels)
    scores = np.full((len(task.corpus), task.shape.choices), _UNSEEN, np.float32)
    scores[:, model.classes_] = model.predict_log_proba(features.transform(_texts(task.corpus)))
    choices = scores.argmax(1)

    def predict(batch: Batch) -> Prediction:
        rows = batch.text_index[:, None]
        gold = scores[rows, np.minimum(batch.targets, task.shape.choices - 1)]
        return Prediction(choices[rows], gold, scores[rows, choices[rows]])

    return predict


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
