"""The order of texts, as a pure function of (key, number of the draw)."""

import numpy as np
from numpy.typing import NDArray

from lm_gym.hashing import mix, permute

SAMPLINGS = ("shuffled", "bucketed", "sequential")
FIXED_KEY = 0x5EED  # key of the masks of texts played by `indices`, independent of the seed
_WINDOW = 4096  # draws computed at a time
_BATCHES = 50  # batches in a window sorted by length


class Sampler:
    """Sample texts in epochs without replacement, in constant memory.

    Args:
        sampling: `"shuffled"`; `"bucketed"`: windows of 50 batches of consecutive shuffled draws are sorted by length
            and cut into batches, and the batches are shuffled; `"sequential"`: the order of the corpus.
        lengths: int [N], number of sub-tokens of each text (for `"bucketed"`).
        batch: number of texts drawn at a time.

    Attributes:
        key: key of the sequence; -1 before the first `restart`.
        draws: number of texts drawn so far; with the key, this is the entire state.
    """

    def __init__(self, sampling: str, lengths: NDArray[np.integer], batch: int) -> None:
        self.sampling = sampling
        self.num_texts = len(lengths)
        self.key = -1
        self.draws = 0
        self._lengths = lengths
        self._batch = batch
        self._window = min(_WINDOW, self.num_texts)
        if sampling == "bucketed":
            batches = min(_BATCHES, self.num_texts // batch)
            self._window = batch * max(1, batches)
        self._at = -1  # the current window
        self._order = np.zeros(0, np.int64)  # its draws, in the order of play

    def restart(self, key: int, draws: int = 0) -> None:
        """Start the sequence of a key at a given draw."""
        self.key, self.draws, self._at = key, draws, -1

    def take(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw texts; return their indices and numbers of earlier visits, int64 [count] each."""
        texts = np.empty(count, np.int64)
        visits = np.empty(count, np.int64)
        done = 0
        while done < count:
            window, offset = divmod(self.draws, self._window)
            if window != self._at:
                self._order, self._at = self._open(window), window
            step = min(count - done, self._window - offset)
            texts[done : done + step] = self._order[0, offset : offset + step]
            visits[done : done + step] = self._order[1, offset : offset + step]
            done += step
            self.draws += step
        return texts, visits

    def _open(self, window: int) -> NDArray[np.int64]:
        """Return the texts and the visits of a window's draws, in the order of play, int64 [2, W]."""
        draws = np.arange(window * self._window, (window + 1) * self._window)
        visits, texts = np.divmod(draws, self.num_texts)
        if self.sampling != "sequential":
            texts = permute(texts, self.num_texts, self.key, visits)
        if self.sampling == "bucketed":
            by_length = np.argsort(self._lengths[texts], kind="stable")
            batches = np.argsort(mix(self.key, window, np.arange(self._window // self._batch)), kind="stable")
            order = by_length.reshape(-1, self._batch)[batches].reshape(-1)
            texts, visits = texts[order], visits[order]
        return np.stack([texts, visits])
