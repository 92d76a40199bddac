"""Entity F1 of a sentence, paid as it changes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.iob2 import ENDS, boundaries
from lm_gym.rewards.reward import Board, Decision, Reward, Track


class EntityF1(Reward):
    """The entity F1 of a sentence, as the change that each position makes.

    Entities are those of the CoNLL scorer (the default of seqeval): B-X begins one, and so does an I-X that follows
    anything but B-X or I-X; one is right if its type and both its ends are. After each position the potential is
    2·TP / (predicted + gold), where TP and predicted count what is decided so far and gold counts the whole
    sentence; an entity is right once both its predicted and its gold end are known. A sentence without entities,
    gold or predicted, has potential 1. The potential before the first position counts as 0, so that the rewards of
    a sentence sum to its F1.
    """

    name = "f1"
    minimum = -1.0
    total_minimum = 0.0
    gold = frozenset({"iob2"})
    summary = (
        "the change in the sentence's entity F1 that a {choice} makes; the changes of a text sum to its F1 "
        "(`lm_gym.rewards.EntityF1`)"
    )

    def _prepare(self) -> None:
        self.codes, self.types = boundaries(self.choices.names)

    def track(self, board: Board) -> "EntityF1Track":
        """Follow episodes position by position."""
        return EntityF1Track(self, board)

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`); all samples advance together."""
        inside = targets < self.choices.num_choices
        counts = inside.sum(-1)
        gold = np.where(inside, targets, 0)
        state = _State(self, choices.shape[:-1], targets.shape)
        state.enter(np.arange(len(targets)), targets)
        paid = np.zeros(choices.shape, np.float32)
        for t in range(int(counts.max(initial=0))):
            here = inside[:, t]
            chosen = np.where(here, choices[..., t], 0)
            change = state.advance(chosen, gold[:, t], state.gold_codes[:, t], counts == t + 1)
            paid[..., t] = np.where(here, change, 0.0)
        return paid


class _State:
    """Counts of entities along texts, elementwise over [..., N]."""

    def __init__(self, reward: EntityF1, shape: tuple[int, ...], texts: tuple[int, ...]) -> None:
        self.reward = reward
        self.num_choices = reward.choices.num_choices
        self.before = np.zeros(shape, np.int64)  # the choice before
        self.open = np.zeros(shape, np.uint8)  # 1 while a predicted and a gold entity run that began together
        self.right = np.zeros(shape, np.int64)
        self.predicted = np.zeros(shape, np.int64)
        self.value = np.zeros(shape, np.float64)
        self.gold = np.zeros(texts[0], np.int64)
        self.gold_codes = np.zeros(texts, np.uint8)

    def enter(self, rows: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Begin new texts at these rows, [R, T] each."""
        gold = np.where(targets < self.num_choices, targets, 0)
        before = np.zeros_like(gold)
        before[:, 1:] = gold[:, :-1]
        codes = self.reward.codes[before * self.num_choices + gold]
        self.gold_codes[rows] = codes
        self.gold[rows] = (codes >> 1).sum(-1)
        for counter in (self.before, self.open, self.right, self.predicted, self.value):
            counter[..., rows] = 0

    def advance(
        self,
        choices: NDArray[np.int64],
        targets: NDArray[np.int64],
        gold_code: NDArray[np.uint8],
        last: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Decide one position; the change of the potential, [..., N]."""
        code = self.reward.codes[self.before * self.num_choices + choices]
        both, either = code & gold_code, code | gold_code
        self.right += self.open & both & ENDS
        types = self.reward.types
        self.open = (self.open & ~either & 1) | ((both >> 1) & (types[choices] == types[targets]))
        self.predicted += code >> 1
        total = self.predicted + self.gold
        value = 2.0 * (self.right + (self.open & last)) / np.maximum(total, 1)
        value += total == 0
        change = value - self.value
        self.value, self.before = value, choices
        return np.asarray(change, np.float64)


class EntityF1Track(Track):
    """Entity F1 along episodes."""

    def __init__(self, reward: EntityF1, board: Board) -> None:
        super().__init__(reward, board)
        self._state = _State(reward, board.counts.shape, board.targets.shape)
        self._rows = np.arange(len(board.counts))

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Take note that these rows play new texts."""
        self._state.enter(rows, self.board.targets[rows])

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        gold_codes = self._state.gold_codes[self._rows, decision.cursor]
        return self._state.advance(decision.choices, decision.targets, gold_codes, decision.last)
