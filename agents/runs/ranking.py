"""Ranking of the replies of a bank by a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lm_gym.agents.evaluation.playing import read
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.runs.assembly import make_env, make_policy
from lm_gym.agents.runs.trained_run import TrainedRun
from lm_gym.data.fields import CANDIDATES
from lm_gym.envs import TextVectorEnv, find_task
from lm_gym.tasks import load_data
from lm_gym.tasks.bm25 import BM25

Ranking = list[tuple[str | None, float]]
"""Replies with their probabilities, best first; None stands for giving no reply."""


class Ranker:
    """Rank the replies of a bank.

    Args:
        run: the run whose model ranks them.
        bank: distinct replies, as words.
        k: number of replies that BM25 looks up.

    Raises:
        ValueError: the task of the run has no candidates.
    """

    def __init__(self, run: TrainedRun, bank: Sequence[Sequence[str]], k: int) -> None:
        self._task = find_task(run.settings.env.id)
        if CANDIDATES.name not in {field.name for field in self._task.fields}:
            raise ValueError(f"{self._task.env_id} does not choose replies: give a run of response selection")
        self._run, self._bank, self._k = run, bank, min(k, len(bank))
        self._index = BM25(bank)
        self._policy: LMPolicy | None = None

    def __call__(self, message: str, turns: Sequence[str] = ()) -> Ranking:
        """Return the replies for a message, given the turns before it, oldest first.

        Raises:
            ValueError: the message has no words, or the replies do not fit in `max_length`.
        """
        env, candidates = self._opened(message, turns)
        if self._policy is None:
            self._policy = make_policy(self._run.settings, env, str(self._run.folder.best))
        observation, _ = env.reset(options={"indices": np.zeros(env.num_envs, np.int64)})
        probabilities = read(self._policy, observation).log_probs[0].exp().tolist()
        replies: list[str | None] = [*candidates]
        if env.task.abstention is not None:
            replies.insert(env.task.abstention, None)
        return sorted(zip(replies, probabilities, strict=True), key=lambda entry: -entry[1])

    def _opened(self, message: str, turns: Sequence[str]) -> tuple[TextVectorEnv, list[str]]:
        """Return an environment with the message as its only text, and its candidates."""
        words = [word for text in (*turns, message) for word in text.split()]
        found = self._index.best([words], self._k)[0]
        candidates = [" ".join(self._bank[number]) for number in found.tolist()]
        record = {"turns": list(turns), "message": message, "candidates": candidates, "answer": 0}
        settings = self._run.settings
        env: Any = replace(settings.env, bank=None)  # type: ignore[call-arg]  # an option of the task
        alone = replace(settings, env=env, evaluation=replace(settings.evaluation, num_envs=1))
        return make_env(alone, load_data(self._task, [record]), "train", str(self._run.folder.best)), candidates
