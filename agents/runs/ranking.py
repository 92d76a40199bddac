"""Ranking of the replies of a bank by a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch as th

from lm_gym.agents.evaluation.playing import read
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.towers import SCALE
from lm_gym.agents.runs.assembly import make_env, make_policy
from lm_gym.agents.runs.trained_run import TrainedRun
from lm_gym.data.fields import CANDIDATES
from lm_gym.envs import TextVectorEnv, find_task
from lm_gym.tasks import load_data
from lm_gym.tasks.bm25 import BM25
from lm_gym.tasks.reply_bank import Message

_CHUNK = 128  # replies of a bank embedded at a time

Ranking = list[tuple[str | None, float]]
"""Replies with their probabilities, best first; None stands for giving no reply."""


class OneMessage:
    """Environments whose only text is a message with some replies.

    Args:
        run: the run whose model reads it.

    Raises:
        ValueError: the task of the run has no candidates.
    """

    def __init__(self, run: TrainedRun) -> None:
        self._run, self._task = run, find_task(run.settings.env.id)
        if CANDIDATES.name not in {field.name for field in self._task.fields}:
            raise ValueError(f"{self._task.env_id} does not choose replies: give a run of response selection")
        self._policy: LMPolicy | None = None

    def env(self, message: Message, replies: Sequence[str]) -> TextVectorEnv:
        """Return the environment.

        Raises:
            ValueError: the message has no words, or the replies do not fit in `max_length`.
        """
        record = {"turns": list(message.turns), "message": message.text, "candidates": [*replies], "answer": 0}
        settings = self._run.settings
        env: Any = replace(settings.env, bank=None)  # type: ignore[call-arg]  # an option of the task
        alone = replace(settings, env=env, evaluation=replace(settings.evaluation, num_envs=1))
        return make_env(alone, load_data(self._task, [record]), "train", str(self._run.folder.best))

    def policy(self, env: TextVectorEnv) -> LMPolicy:
        """Return the policy, which is made for the first of the environments; none may have more choices."""
        self._policy = self._policy or make_policy(self._run.settings, env, str(self._run.folder.best))
        return self._policy


class Ranker:
    """Rank the replies that BM25 looks up for a message, by reading them with it.

    Args:
        texts: the messages.
        bank: distinct replies, as words.
        k: number of replies that BM25 looks up.
    """

    def __init__(self, texts: OneMessage, bank: Sequence[Sequence[str]], k: int) -> None:
        self._texts, self._bank, self._k = texts, bank, min(k, len(bank))
        self._index = BM25(bank)

    def __call__(self, message: Message) -> Ranking:
        """Return the replies for a message.

        Raises:
            ValueError: the message has no words, or the replies do not fit in `max_length`.
        """
        words = [word for text in (*message.turns, message.text) for word in text.split()]
        found = self._index.best([words], self._k)[0]
        replies = [" ".join(self._bank[number]) for number in found.tolist()]
        env = self._texts.env(message, replies)
        log_probs = read(self._texts.policy(env), _only_text(env)).log_probs[0]
        return _ranking(env, replies, log_probs)


class BankRanker:
    """Rank all replies of a bank by their embeddings, which are computed once.

    Args:
        texts: the messages.
        bank: distinct replies, as words.

    Raises:
        ValueError: a reply does not fit in `max_length`.
    """

    def __init__(self, texts: OneMessage, bank: Sequence[Sequence[str]]) -> None:
        self._texts, self._replies = texts, [" ".join(words) for words in bank]
        chunks = [self._replies[start : start + _CHUNK] for start in range(0, len(bank), _CHUNK)]
        self._table = th.cat([self._embedded(Message(chunk[0]), chunk)[1][-len(chunk) :] for chunk in chunks])

    def __call__(self, message: Message) -> Ranking:
        """Return all replies for a message.

        Raises:
            ValueError: the message has no words.
        """
        env, made = self._embedded(message, self._replies[:1])
        table = self._table if env.task.abstention is None else th.cat([made[1:2], self._table])
        return _ranking(env, self._replies, (SCALE * (table @ made[0])).log_softmax(0))

    def _embedded(self, message: Message, replies: Sequence[str]) -> tuple[TextVectorEnv, th.Tensor]:
        """Return the embeddings of a message, of abstaining if that is a choice, and of some replies, [*, D]."""
        env = self._texts.env(message, replies)
        made = self._texts.policy(env).embeddings(_only_text(env))[0]
        return env, made[: 1 + (env.task.abstention is not None) + len(replies)]


def make_ranker(run: TrainedRun, bank: Sequence[Sequence[str]], k: int | None) -> Ranker | BankRanker:
    """Return the ranker that suits the model of a run.

    Args:
        run: the run.
        bank: distinct replies, as words.
        k: number of replies that BM25 looks up; None for 5.

    Raises:
        ValueError: the task of the run has no candidates, or the model ranks the whole bank and k is given.
    """
    texts = OneMessage(run)
    apart = texts.env(Message("?"), ["?"]).task.head == "similarity"
    if apart and k is not None:
        raise ValueError(f"--k {k}: the model of {run.folder.path} ranks the whole bank: leave it out")
    return BankRanker(texts, bank) if apart else Ranker(texts, bank, k or 5)


def _only_text(env: TextVectorEnv) -> dict[str, Any]:
    return env.reset(options={"indices": np.zeros(env.num_envs, np.int64)})[0]


def _ranking(env: TextVectorEnv, replies: Sequence[str], log_probs: th.Tensor) -> Ranking:
    """Return replies, and abstaining if that is a choice, by their probability."""
    named: list[str | None] = [*replies]
    if env.task.abstention is not None:
        named.insert(env.task.abstention, None)
    return sorted(zip(named, log_probs.exp().tolist(), strict=True), key=lambda entry: -entry[1])
