"""Entity F1 of a sentence, paid as it changes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.rewards.reward import Board, Reward, Track

_ENDS, _BEGINS = 1, 2


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

    def _prepare(self) -> None:
        if self.choices.names is None:
            raise ValueError(
                "reward='f1' needs tags, and this task chooses vocabulary ids: take 'accuracy' or 'log_likelihood'"
            )
        self.codes, self.types = entity_tables(self.choices.names)

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


def entity_tables(names: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Build the tables of CoNLL's chunk rules.

    Args:
        names: IOB2 tags, "O" first.

    Returns:
        (codes uint8 [n * n], types int64 [n]): codes[before * n + tag] has bit 1 where an entity ends before `tag`,
        bit 2 where one begins at it; types[0] is 0, for O.
    """
    kinds = sorted({name[2:] for name in names if name != "O"})
    types = np.array([0 if name == "O" else 1 + kinds.index(name[2:]) for name in names], np.int64)
    begins = np.array([name.startswith("B-") for name in names])
    differ = types[:, None] != types[None, :]
    ends = (types[:, None] > 0) & (differ | begins[None, :])
    starts = (types[None, :] > 0) & (differ | begins[None, :])
    return (ends * _ENDS + starts * _BEGINS).astype(np.uint8).reshape(-1), types


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
        self.right += self.open & both & _ENDS
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

    def pay(
        self,
        choices: NDArray[np.int64],
        targets: NDArray[np.int64],
        log_probs: NDArray[Any] | None,
        cursor: NDArray[np.int64],
        last: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        return self._state.advance(choices, targets, self._state.gold_codes[self._rows, cursor], last)
