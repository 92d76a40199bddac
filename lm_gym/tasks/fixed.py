"""Tasks whose positions and gold choices are fixed: nothing is drawn when a text is played."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.tasks.dynamics import OpenedTexts
from lm_gym.tasks.encoded import Encoded
from lm_gym.tasks.task import Task

if TYPE_CHECKING:
    from lm_gym.tokenizer import TextTokenizer


class FixedPositions(Task):
    """Base class of tasks whose `encode` returns the positions and targets of every text."""

    def __init__(self, encoded: Encoded, *arguments: Any) -> None:
        super().__init__(encoded, *arguments)
        if encoded.positions is None or encoded.targets is None or encoded.position_offsets is None:
            raise ValueError(f"{self.name} needs fixed positions: encode the split with {type(self).__name__}.encode")
        self._positions = ragged.with_margin(encoded.positions, self.shape.positions)
        self._targets = ragged.with_margin(encoded.targets, self.shape.positions)
        self._starts = encoded.position_offsets
        num_positions = len(encoded.positions)
        self.encoded = replace(
            self.encoded, positions=self._positions[:num_positions], targets=self._targets[:num_positions]
        )

    @classmethod
    def count_targets(cls, encoded: Encoded, tokenizer: TextTokenizer, num_choices: int) -> NDArray[np.int64]:
        """Return the frequency of each choice as gold, int64 [n]."""
        return np.bincount(np.asarray(encoded.targets), minlength=num_choices).astype(np.int64)

    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Return padded rows of texts."""
        ids, lengths, _ = self._rows(texts)
        starts = self._starts[texts]
        counts = self._starts[texts + 1] - starts
        outside = np.arange(self.shape.positions) >= counts[:, None]
        positions = ragged.windows(self._positions, starts, self.shape.positions)
        targets = ragged.windows(self._targets, starts, self.shape.positions)
        positions[outside] = 0
        targets[outside] = self.shape.choices
        return OpenedTexts(ids, lengths, positions, counts, targets)
