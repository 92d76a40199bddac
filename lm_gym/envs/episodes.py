"""The dynamics of the environments: N episodes as a struct of arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.rewards import Board, Decision, Reward
from lm_gym.tasks import DecidedText, Task

Observation = dict[str, NDArray[Any]]


class Episodes:
    """The current texts, one per row.

    Args:
        task: the task, with its texts.
        reward: the reward, bound to the task.
        num_rows: N.
        cursor: whether the observation has a cursor (`unit="token"`).
        mask_actions: whether the observation has `action_mask`.
        distributions: whether actions are distributions.

    Attributes:
        observation: the live observation, each leaf [N, …]; copy it before returning it to users.
        targets: int64 [N, T], gold choices, n where padded.
        counts: int64 [N], number of positions.
        decided: int64 [N], number of decided positions.
        text_index: int64 [N], index of the text of each row; -1 before the first text.
        visits: int64 [N], number of earlier visits of each text.
        keys: int64 [N], key of the random masks of each text.
        log_probs: float64 [N, T], log-probabilities of the targets of decided positions; None if actions are choices
            or without a cursor.
    """

    def __init__(
        self,
        task: Task,
        reward: Reward,
        num_rows: int,
        *,
        cursor: bool,
        mask_actions: bool,
        distributions: bool,
    ) -> None:
        tokens, positions, choices = task.shape
        self.task = task
        self.num_choices = choices
        self.targets = np.full((num_rows, positions), choices, np.int64)
        self.counts = np.ones(num_rows, np.int64)
        self._one = np.ones(num_rows, np.int64)  # adding an array is three times as fast as adding a Python number
        self._last = self.counts - 1  # the last position of each text, where the cursor stays
        self.decided = np.zeros(num_rows, np.int64)
        self.text_index = np.full(num_rows, -1, np.int64)
        self.visits = np.zeros(num_rows, np.int64)
        self.keys = np.zeros(num_rows, np.int64)
        self.log_probs = np.zeros((num_rows, positions)) if distributions and cursor else None
        self.observation: Observation = {
            "input_ids": np.zeros((num_rows, tokens), np.int64),
            "attention_mask": np.zeros((num_rows, tokens), np.int8),
            "positions": np.zeros((num_rows, positions), np.int64),
            "position_mask": np.zeros((num_rows, positions), np.int8),
            "predictions": np.full((num_rows, positions), choices, np.int64),
        }
        self._predictions = self.observation["predictions"]
        self._cursor = np.zeros((num_rows, 1), np.int64)
        if cursor:
            self.observation["cursor"] = self._cursor
        self._write = task.writes
        self._masks = mask_actions and not task.static_masks
        if mask_actions:
            self.observation["action_mask"] = np.repeat(task.always_legal[None].astype(np.int8), num_rows, axis=0)
        self._rows = np.arange(num_rows)
        self._starts = self._rows * positions  # where each row begins in the flattened [N, T] arrays
        self._tokens = np.arange(tokens)
        self._places = np.arange(positions)
        self.track = reward.track(Board(self.targets, self._predictions, self.counts, self.observe))

    def observe(self, rows: NDArray[np.int64]) -> Observation:
        """Return a copy of the observation of some rows."""
        return {key: leaf[rows] for key, leaf in self.observation.items()}

    def enter(self, rows: NDArray[np.int64], texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> None:
        """Start new texts in some rows; all arguments are int64 [R] (see `Task.open`)."""
        opened = self.task.open(texts, visits, key)
        observation = self.observation
        observation["input_ids"][rows] = opened.input_ids
        observation["attention_mask"][rows] = self._tokens < opened.lengths[:, None]
        observation["positions"][rows] = opened.positions
        observation["position_mask"][rows] = self._places < opened.counts[:, None]
        self._predictions[rows] = self.num_choices
        self._cursor[rows] = 0
        self.targets[rows] = opened.targets
        self.counts[rows] = opened.counts
        self._last[rows] = opened.counts - 1
        self.decided[rows] = 0
        self.text_index[rows] = texts
        self.visits[rows] = visits
        self.keys[rows] = key
        if self._masks:
            self._update_masks()
        self.track.enter(rows)

    def decide(
        self, choices: NDArray[np.int64], log_probs: NDArray[np.float64] | None, live: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Decide the position at the cursor of every row.

        Args:
            choices: int64 [N], in [0, n); the array is kept.
            log_probs: float64 [N], log-probability of each target, if actions are distributions.
            live: bool [N], the rows that play; None for all. The others must start new texts before they play again.

        Returns:
            Rewards, float64 [N], and ends of episodes, bool [N]; 0 and False in rows that do not play.
        """
        cursor = self._cursor[:, 0]
        rows, at = self._rows, self._starts + cursor
        targets = self.targets.take(at)
        here, chosen = cursor, choices  # of the rows that play
        if live is not None:
            targets, rows = np.where(live, targets, 0), rows[live]
            here, chosen, at = cursor[rows], choices[rows], at[rows]
        self._predictions.put(at, chosen)
        self.decided += self._one if live is None else live
        if self.log_probs is not None and log_probs is not None:
            self.log_probs[rows, here] = log_probs[rows]
        if self._write:
            self.task.write(self.observation, rows, here, chosen)
        last = self.task.ended(self.decided, self.counts)
        rewards = self.track.pay(Decision(choices, targets, log_probs, cursor, last))
        np.minimum(self.decided, self._last, out=cursor)
        if self._masks:
            self._update_masks()
        if live is not None:
            rewards, last = np.where(live, rewards, 0.0), last & live
        return rewards, last

    def decide_all(
        self, choices: NDArray[np.int64], log_probs: NDArray[np.float64] | None, live: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        """Decide every position of every row.

        Args:
            choices: int64 [N, T], in [0, n) at positions.
            log_probs: float64 [N, T] or None.
            live: bool [N], the rows that play; None for all.

        Returns:
            float32 [N, T]; 0 where padded and in rows that do not play.
        """
        inside = self.observation["position_mask"] > 0
        if live is not None:
            inside &= live[:, None]
        np.copyto(self._predictions, choices, where=inside)
        np.copyto(self.decided, self.counts, where=True if live is None else live)
        rewards = self.track.score(choices, log_probs)
        return rewards if live is None else np.where(live[:, None], rewards, np.float32(0.0))

    def legal(self) -> NDArray[np.bool_]:
        """Return a mask of sensible choices, bool [N, n]."""
        always = self.task.always_legal
        here = self.task.legal(self._predictions, self._cursor[:, 0])
        return np.repeat(always[None], len(self.counts), axis=0) if here is None else here & always

    def decided_text(self, row: int) -> DecidedText:
        """Return the text of a row with its decisions so far."""
        inside = self.observation["position_mask"][row] > 0
        places, choices = self.observation["positions"][row][inside], self._predictions[row][inside]
        return DecidedText(int(self.text_index[row]), places, self.targets[row][inside], choices)

    def _update_masks(self) -> None:
        self.observation["action_mask"][...] = self.legal()
