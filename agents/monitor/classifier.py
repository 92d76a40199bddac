"""A trained classifier for texts outside a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lm_gym.agents.evaluation.playing import read
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.data import load_dataset
from lm_gym.data.fields import Field
from lm_gym.envs import TextVectorEnv
from lm_gym.tasks import Shape

_ROWS = 64  # texts in one forward, of like length


class Classifier:
    """Label texts with the policy of a run.

    Args:
        policy: the policy.
        env: an environment of the policy, which defines the encoding of texts.

    Attributes:
        labels: names of the labels.

    Raises:
        ValueError: the task does not give each text one label, or it needs pairs of texts.
    """

    def __init__(self, policy: LMPolicy, env: TextVectorEnv) -> None:
        label = next((field for field in env.task.fields if field.kind == "label"), None)
        if label is None or env.task.shape.positions != 1:
            raise ValueError(f"{env.task.env_id} does not label texts: give a run of text classification")
        if any(column.kind == "text" for column in env.task.corpus.columns.values()):
            raise ValueError("the run was trained on pairs of texts, but a stream has one text per line")
        self._policy, self._env = policy, env
        self._fields: tuple[Field, ...] = (env.task.fields[0], label)
        self.labels = [env.task.choice_name(number) for number in range(env.task.shape.choices)]

    def __call__(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the most probable label of each text, int64 [N], and its probability, float64 [N]."""
        task, arguments = self._env.task, self._env.settings
        records = [{"text": text, "label": self.labels[0]} for text in texts]  # the label is not used
        corpus = load_dataset(records, fields=self._fields)["train"]
        encoded = task.encode(corpus, task.tokenizer, arguments.max_length, options=task.options)
        shape = Shape(encoded.max_tokens, 1, task.shape.choices)
        names = cast(Any, task.choice_names)
        opened = type(task)(encoded, task.tokenizer, shape, task.target_counts, names, task.options, corpus, None).open(
            np.arange(len(texts)), np.zeros(len(texts), np.int64), 0
        )
        labels, probabilities = np.zeros(len(texts), np.int64), np.zeros(len(texts))
        by_length = np.argsort(opened.lengths, kind="stable")
        for rows in np.array_split(by_length, -(-len(texts) // _ROWS)):
            lengths = opened.lengths[rows]
            width = int(lengths.max())
            packed = read(
                self._policy,
                {
                    "input_ids": opened.input_ids[rows, :width],
                    "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64),
                    "positions": opened.positions[rows],
                    "position_mask": np.ones((len(rows), 1), np.int64),
                },
            )
            best, chosen = packed.log_probs.max(-1)
            labels[rows], probabilities[rows] = chosen.cpu().numpy(), best.exp().cpu().numpy()
        return labels, probabilities
