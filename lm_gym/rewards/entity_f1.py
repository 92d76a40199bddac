"""Entity F1 of a sentence, paid as it changes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.iob2 import BEGINS, ENDS, Boundaries, boundaries
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
        "the change in the sentence's entity F1 that each {choice} makes; the changes of a text sum to its F1 "
        "(`lm_gym.rewards.EntityF1`)"
    )

    def _prepare(self) -> None:
        self.moves = _Transitions(boundaries(self.choices.names))

    def track(self, board: Board) -> "EntityF1Track":
        """Follow episodes position by position."""
        return EntityF1Track(self, board)

    def score(
        self, choices: NDArray[np.int64], targets: NDArray[np.int64], log_probs: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Reward whole texts, [..., N, T] (see `Reward.score`); all samples advance together."""
        inside = targets < self.choices.num_choices
        state = _State(self, choices.shape[:-1], targets.shape)
        state.enter(np.arange(len(targets)), targets)
        paid = np.zeros(choices.shape, np.float32)
        for t in range(int(inside.sum(-1).max(initial=0))):
            here = inside[:, t]
            chosen = np.where(here, choices[..., t], 0)
            change = state.advance(chosen, state.keys[:, t])
            paid[..., t] = np.where(here, change, 0.0)
        return paid


class _Transitions:
    """What one decision changes, as one table: a step looks up what thirty operations on arrays would work out.

    A *pair* is a choice after the one before it, 4 · type + code of `Boundaries`. A decision is the pair of the gold
    choice, whether it is the last of its text, whether an entity that began rightly runs, and the pair of the choice.

    Attributes:
        pairs: int64 [n · n], the pair of a choice behind `before`, at before · n + choice.
        kinds: m, how many pairs there are at most.
        running: int64 [4m · 2 · m], m where an entity that began rightly runs on, else 0.
        counted: float64 [4m · 2 · m, 2], what is added to numerator and denominator of F1.
    """

    def __init__(self, boundaries: Boundaries) -> None:
        codes, types = boundaries
        self.pairs = 4 * np.tile(types, len(types)) + codes
        self.kinds = m = 4 * (int(types.max()) + 1)
        bare, last, gold, running, pair = np.indices((2, 2, m, 2, m), np.int16)
        both, either, predicted = gold & pair & 3, (gold | pair) & 3, (pair & BEGINS) >> 1
        begun = (both & BEGINS > 0) & (gold >> 2 == pair >> 2)
        goes_on = (running & (either & ENDS == 0)) | begun
        closed = running & both & ENDS
        # A text without gold entities is bare: its F1 is 1/1 until an entity is predicted, and 0/1 from then on.
        self.running = m * np.where(bare, running | predicted, goes_on).astype(np.int64).reshape(-1)
        numerator = np.where(bare, -(predicted & ~running), 2 * (closed + (goes_on & last)))
        self.counted = np.stack([numerator, np.where(bare, 0, predicted)], -1).astype(np.float64).reshape(-1, 2)

    def keys(self, pairs: NDArray[np.int64], bare: NDArray[np.bool_], last: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Where the entries of gold pairs begin, [R, T].

        Args:
            pairs: gold pairs, int64 [R, T].
            bare: texts without gold entities, bool [R].
            last: the last position of each text, bool [R, T].
        """
        return 2 * self.kinds * (pairs + self.kinds * (last + 2 * bare[:, None]))


class _State:
    """Counts of entities along texts, elementwise over [..., N]."""

    def __init__(self, reward: EntityF1, shape: tuple[int, ...], texts: tuple[int, ...]) -> None:
        self.moves = reward.moves
        self.num_choices = np.array(reward.choices.num_choices)  # not a Python number: a step multiplies by it
        self.before = np.zeros(shape, np.int64)  # n · the choice before
        self.running = np.zeros(shape, np.int64)  # above 0 while a predicted and a gold entity run, begun together
        self.fraction = np.zeros((*shape, 2))  # F1: 2 · right over predicted + gold
        self.value = np.zeros(shape)
        self.keys = np.zeros(texts, np.int64)
        self._places = np.arange(texts[-1])

    def enter(self, rows: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Begin new texts at these rows, [R, T] each."""
        inside = targets < self.num_choices
        gold = np.where(inside, targets, 0)
        before = np.zeros_like(gold)
        before[:, 1:] = gold[:, :-1]
        pairs = self.moves.pairs[before * self.num_choices + gold]
        entities = (pairs & BEGINS > 0).sum(-1)
        last = self._places == inside.sum(-1, keepdims=True) - 1
        self.keys[rows] = self.moves.keys(pairs, entities == 0, last)
        for counter in (self.before, self.running, self.value):
            counter[..., rows] = 0
        self.fraction[..., rows, 0] = entities == 0
        self.fraction[..., rows, 1] = np.maximum(entities, 1)

    def advance(self, choices: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Decide one position; the change of the potential, [..., N]."""
        moves = self.moves
        at = moves.pairs.take(self.before + choices) + self.running + keys
        self.running = moves.running.take(at)
        self.fraction += moves.counted.take(at, 0)
        value: NDArray[np.float64] = self.fraction[..., 0] / self.fraction[..., 1]
        change = value - self.value
        self.value, self.before = value, choices * self.num_choices
        return np.asarray(change)


class EntityF1Track(Track):
    """Entity F1 along episodes."""

    def __init__(self, reward: EntityF1, board: Board) -> None:
        super().__init__(reward, board)
        self._state = _State(reward, board.counts.shape, board.targets.shape)
        self._starts = np.arange(len(board.counts)) * board.targets.shape[1]

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Take note that these rows play new texts."""
        self._state.enter(rows, self.board.targets[rows])

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        keys = self._state.keys.take(self._starts + decision.cursor)
        return self._state.advance(decision.choices, keys)
