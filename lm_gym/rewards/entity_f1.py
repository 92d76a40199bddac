"""Entity F1 of a text, paid as it changes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.iob2 import BEGINS, ENDS, Boundaries, boundaries
from lm_gym.rewards.board import Board, Decision
from lm_gym.rewards.reward import Reward, Track


class EntityF1(Reward):
    """The change in the entity F1 of a text at each position.

    Entities are those of the CoNLL scorer (the default of seqeval). B-X begins an entity, and so does I-X unless it
    follows B-X or I-X. A predicted entity is correct if its type and both ends are correct. After each position the
    potential is 2·TP / (predicted + gold), where TP and predicted count the decisions so far and gold counts the whole
    text; a correct entity counts once both its predicted and its gold end are known. A text without gold or predicted
    entities has potential 1. The potential before the first position is 0, so that the rewards of a text sum to its F1.
    """

    name = "f1"
    minimum = -1.0
    total_minimum = 0.0
    gold = frozenset({"iob2"})
    summary = (
        "the change in the text's entity F1 caused by each {choice}; the changes of a text sum to its F1 "
        "(`lm_gym.rewards.EntityF1`)"
    )

    def _prepare(self) -> None:
        self.moves = _Transitions(boundaries(self.choices.names))

    def track(self, board: Board) -> "EntityF1Track":
        """Return a track, which computes rewards position by position."""
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
    """The effect of a decision as one table, so that a step is a lookup instead of thirty array operations.

    A *pair* describes a choice and the one before it: 4 · type + code of `Boundaries`. The table is indexed by the pair
    of the gold choice, whether it is the last of its text, whether a correctly started entity is open, and the pair of
    the choice.

    Attributes:
        pairs: int64 [n · n], the pair of a choice after `before`, at before · n + choice.
        n: the number of choices.
        kinds: m, the maximum number of pairs.
        offsets, begins: the offset of a gold pair in the table, and whether it begins an entity, as `pairs`.
        running: int64 [4m · 2 · m], m if a correctly started entity stays open, else 0.
        counted: float64 [4m · 2 · m, 2], increments of the numerator and denominator of F1.
    """

    def __init__(self, boundaries: Boundaries) -> None:
        codes, types = boundaries
        self.n = np.int64(len(types))
        self.pairs = 4 * np.tile(types, len(types)) + codes
        self.kinds = m = 4 * (int(types.max()) + 1)
        self.offsets = 2 * m * self.pairs
        self.begins = (self.pairs & BEGINS) > 0
        bare, last, gold, running, pair = np.indices((2, 2, m, 2, m), np.int16)
        both, either, predicted = gold & pair & 3, (gold | pair) & 3, (pair & BEGINS) >> 1
        begun = (both & BEGINS > 0) & (gold >> 2 == pair >> 2)
        goes_on = (running & (either & ENDS == 0)) | begun
        closed = running & both & ENDS
        # A bare text has no gold entities: its F1 is 1/1 until an entity is predicted, and 0/1 afterwards.
        self.running = m * np.where(bare, running | predicted, goes_on).astype(np.int64).reshape(-1)
        numerator = np.where(bare, -(predicted & ~running), 2 * (closed + (goes_on & last)))
        self.counted = np.stack([numerator, np.where(bare, 0, predicted)], -1).astype(np.float64).reshape(-1, 2)

    def keys(self, gold: NDArray[np.int64], inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the offsets of gold choices in the table, int64 [R, T], and the number of entities, int64 [R].

        Args:
            gold: gold choices, int64 [R, T]; any choice where padded.
            inside: the positions, bool [R, T].
        """
        steps = gold.copy()
        steps[:, 1:] += self.n * gold[:, :-1]
        offsets = self.offsets.take(steps)
        entities: NDArray[np.int64] = (self.begins.take(steps) & inside).sum(-1)
        offsets[np.arange(len(gold)), inside.sum(-1) - 1] += 2 * self.kinds**2
        offsets[entities == 0] += 4 * self.kinds**2
        return offsets, entities


class _State:
    """Counts of entities during texts, elementwise over [..., N]."""

    def __init__(self, reward: EntityF1, shape: tuple[int, ...], texts: tuple[int, ...]) -> None:
        self.moves = reward.moves
        self.num_choices = np.array(reward.choices.num_choices)  # an array multiplies faster than a number
        self.before = np.zeros(shape, np.int64)  # n times the previous choice
        self.running = np.zeros(shape, np.int64)  # above 0 in a predicted and a gold entity that began together
        self.fraction = np.zeros((*shape, 2))  # F1: 2 · correct over predicted + gold
        self.value = np.zeros(shape)
        self.keys = np.zeros(texts, np.int64)

    def enter(self, rows: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Start new texts in these rows, [R, T]."""
        inside = targets < self.num_choices
        self.keys[rows], entities = self.moves.keys(np.where(inside, targets, 0), inside)
        for counter in (self.before, self.running, self.value):
            counter[..., rows] = 0
        self.fraction[..., rows, 0] = entities == 0
        self.fraction[..., rows, 1] = np.maximum(entities, 1)

    def advance(self, choices: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Decide one position; return the change of the potential, [..., N]."""
        moves = self.moves
        at = moves.pairs.take(self.before + choices) + self.running + keys
        self.running = moves.running.take(at)
        self.fraction += moves.counted.take(at, 0)
        value: NDArray[np.float64] = self.fraction[..., 0] / self.fraction[..., 1]
        change = value - self.value
        self.value, self.before = value, choices * self.num_choices
        return np.asarray(change)


class EntityF1Track(Track):
    """Entity F1 during episodes."""

    def __init__(self, reward: EntityF1, board: Board) -> None:
        super().__init__(reward, board)
        self._state = _State(reward, board.counts.shape, board.targets.shape)
        self._starts = np.arange(len(board.counts)) * board.targets.shape[1]

    def enter(self, rows: NDArray[np.int64]) -> None:
        """Start new texts in these rows."""
        self._state.enter(rows, self.board.targets[rows])

    def pay(self, decision: Decision) -> NDArray[np.float64]:
        """Reward one decision of every row (see `Track.pay`)."""
        keys = self._state.keys.take(self._starts + decision.cursor)
        return self._state.advance(decision.choices, keys)
