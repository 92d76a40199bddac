"""Unmasking: a text is written by filling its masks in, some at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lm_gym import ragged
from lm_gym.bounds import NonNegativeFloat, PositiveFraction, PositiveInt, bounded
from lm_gym.data import DataError
from lm_gym.data.columns import NumbersColumn
from lm_gym.data.fields import WORDS, Field
from lm_gym.hashing import mix
from lm_gym.naming import check_choice
from lm_gym.tasks.masked_texts import MaskedTexts
from lm_gym.tasks.metric import ACCURACY, Metric

if TYPE_CHECKING:
    from lm_gym.data import Corpus
    from lm_gym.tasks.encoded import Encoded, WordTable
    from lm_gym.tasks.evaluation import Evaluation
    from lm_gym.tasks.task import OpenedTexts, Progress
    from lm_gym.tokenizer import TextTokenizer

CLUES = Field("clues", "numbers", ("clues", "given", "givens"), required=False)
FIXED = ("left_to_right", "random")
_COUNT, _ORDER = np.uint64(0xC0), np.uint64(0x0D)  # what is drawn, beside the masks


def confidence(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """The largest probability, [..., n] log-probabilities → [...], in (0, 1]."""
    largest: NDArray[np.float64] = np.exp(log_probs.max(-1).astype(np.float64))
    return largest


def margin(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """The largest probability less the second, [..., n] log-probabilities → [...], in [0, 1]."""
    two = np.exp(np.partition(log_probs.astype(np.float64), -2, axis=-1)[..., -2:])
    return np.asarray(two[..., 1] - two[..., 0])


def negative_entropy(log_probs: NDArray[Any]) -> NDArray[np.float64]:
    """Minus the entropy in nats, [..., n] log-probabilities → [...], at most 0."""
    logs = np.maximum(log_probs.astype(np.float64), -1e4)  # 0 · log 0 = 0
    return np.asarray((np.exp(logs) * logs).sum(-1))


SCORES: dict[str, Callable[[NDArray[Any]], NDArray[np.float64]]] = {
    "confidence": confidence,
    "margin": margin,
    "entropy": negative_entropy,
}
"""How sure a distribution is, by the order that goes by it; the surest position comes first."""


@bounded
@dataclass(frozen=True)
class UnmaskingOptions:
    """Arguments of unmasking.

    Args:
        order: `"left_to_right"` or `"random"` (drawn for each visit of a text); or by the policy's distributions
            (`actions="distribution"`), the surest first: `"confidence"` by the largest probability, `"margin"` by its
            distance to the second, `"entropy"` by the least entropy; or `"learned"`: an action says for each position a
            token, or waits
        per_step: positions decided in a step (`unit="sequence"`); `None`: all of a text at once
        threshold: decide more than `per_step` where the policy is this sure: probability or margin at least, entropy
            in nats at most
        block_size: decide the positions of a block of this many before those of the next one
        max_steps: most steps of an episode
        leave_open: whether positions that are open after `max_steps` stay masked; `False`: the last step decides them
        step_cost: what each step costs
        mask_probability: fraction of a text's tokens that is masked, in (0, 1]; `"uniform"`: 1, 2, … or all of them,
            drawn for each visit of a text
        clues: whether the words that a text's `clues` name are never masked

    Raises:
        ValueError: a value is unknown or out of range, or two contradict one another.
    """

    order: Literal["left_to_right", "random", "confidence", "margin", "entropy", "learned"] = "left_to_right"
    per_step: PositiveInt | None = 1
    threshold: NonNegativeFloat | None = None
    block_size: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    leave_open: bool = False
    step_cost: NonNegativeFloat = 0.0
    mask_probability: PositiveFraction | Literal["uniform"] = 1.0
    clues: bool = True

    def __post_init__(self) -> None:
        check_choice("order", self.order, (*FIXED, *SCORES, "learned"))
        if self.threshold is not None and (self.order not in SCORES or self.per_step is None):
            raise ValueError(
                f"threshold={self.threshold} is for an order by the policy's distributions with a per_step: take order="
                f"'confidence', 'margin' or 'entropy', not {self.order!r}"
            )
        if self.order == "learned" and self.per_step != 1:
            raise ValueError(f"per_step={self.per_step}: with order='learned' the action says how many; leave it at 1")
        if self.order == "learned" and self.max_steps is None:
            raise ValueError("order='learned' lets an action decide nothing, so episodes need an end: give max_steps")
        if self.leave_open and self.max_steps is None:
            raise ValueError("leave_open=True is about what is open after max_steps: give max_steps")
        if self.per_step is None and (self.max_steps is not None or self.step_cost or self.block_size is not None):
            raise ValueError("per_step=None decides a text in one step: leave max_steps, step_cost and block_size out")


def exact(played: Evaluation) -> float:
    """The share of texts without a wrong or open position, 0 to 1."""
    right = ragged.sums(played.choices == played.targets, played.offsets)
    return float((right == np.diff(played.offsets)).mean())


def mean_steps(played: Evaluation) -> float | None:
    """Steps of a text on average; None if texts were decided at once."""
    return None if played.steps is None else float(played.steps.mean())


class Unmasking(MaskedTexts):
    """Write a text by filling its masks in, some at each step.

    An episode is one text with masks: all of its tokens but those of given words (`clues`, a list of word numbers for
    each text), or a part of them (`mask_probability`). Each masked token is a position. A step decides some positions,
    and what it decides takes the place of its mask, so that later steps read it. The episode ends when no mask is left.

    Which positions a step may decide stands in the observation as `due` (`unit="sequence"`); what an action says of
    others is ignored. Nothing about a step is hidden, so the probability of a trajectory is the product of the policy's
    probabilities at the positions that its steps decided. An `order` by the policy's own distributions is played with
    `actions="distribution"`. With `order="learned"` there is one more choice, n, which leaves a position open:
    `MultiDiscrete([n + 1] * T)` or `Box(-1e4, 1e4, (T, n + 1), float32)`. An action may leave all of them open, so this
    order needs `max_steps`; `step_cost` is the price of waiting.

    With `per_step=None` a text is decided in one step, as in `lm_gym/MaskedLM-v0`. The supervised twin learns from such
    texts, with any number of masks anywhere: that is masked-diffusion training.

    Masks and random orders depend on the seed, the text, and how often it has been played before; for texts asked for
    by `indices` on the text alone, so that an evaluation is the same everywhere. `action_masks()` leaves out special
    tokens and the unknown word.
    """

    name = "unmasking"
    env_id = "lm_gym/Unmasking-v0"
    fields = (WORDS, CLUES)
    builtin = "builtin/sudoku"
    metrics = (
        ACCURACY,
        Metric("exact", "exact", exact, while_training=True),
        Metric("steps", "steps", mean_steps, lower_is_better=True),
    )
    weighting = "text"
    writes = True
    Options = UnmaskingOptions

    @classmethod
    def inputs(cls) -> tuple[Field, ...]:
        """The text alone: what is not masked is given."""
        return (WORDS,)

    @classmethod
    def check(cls, unit: str, options: UnmaskingOptions) -> None:
        """See `Task.check`."""
        if unit == "sequence":
            return
        if options.order not in FIXED:
            raise ValueError(
                f"order={options.order!r} chooses among all open positions, and unit='token' decides the one at the "
                "cursor: take unit='sequence', or order='left_to_right' or 'random'"
            )
        if options.per_step != 1 or options.max_steps is not None or options.step_cost:
            raise ValueError(
                "unit='token' decides one position a step, and all of them: per_step, max_steps and step_cost are for "
                "unit='sequence'"
            )

    @classmethod
    def evaluated_in(cls, options: UnmaskingOptions) -> dict[str, Any]:
        """Distributions, where the order goes by them."""
        return {"actions": "distribution"} if options.order in SCORES else {}

    @classmethod
    def learned_from(cls, options: UnmaskingOptions) -> UnmaskingOptions:
        """Masked diffusion: any number of masks anywhere, decided at once."""
        return UnmaskingOptions(per_step=None, mask_probability="uniform", clues=False)

    # ------------------------------------------------------------------ masks

    @classmethod
    def shown(cls, corpus: Corpus, options: UnmaskingOptions) -> NDArray[np.bool_] | None:
        """The words that are clues.

        Raises:
            DataError: a clue is no number of a word of its text.
        """
        clues = corpus.columns.get(CLUES.name)
        if not options.clues or not isinstance(clues, NumbersColumn):
            return None
        texts = np.repeat(np.arange(len(corpus)), clues.lengths)
        wrong = (clues.values < 0) | (clues.values >= np.diff(corpus.offsets)[texts]) | (clues.values % 1 != 0)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"text {texts[first]} has the clue {clues.values[first]:g}: clues number the words of their text from 0"
            )
        found = np.zeros(len(corpus.words), np.bool_)
        found[corpus.offsets[texts] + clues.values.astype(np.int64)] = True
        return found

    @classmethod
    def num_masked(cls, maskable: NDArray[np.int64], options: UnmaskingOptions) -> NDArray[np.int64]:
        """The fraction `mask_probability` of those that may be masked, one at least; or all of them."""
        if options.mask_probability == "uniform":
            return maskable
        number: NDArray[np.int64] = np.maximum(1, np.rint(float(options.mask_probability) * maskable)).astype(np.int64)
        return number

    @classmethod
    def encode(
        cls,
        corpus: Corpus,
        tokenizer: TextTokenizer,
        max_length: int,
        *,
        table: WordTable | None = None,
        options: UnmaskingOptions | None = None,
    ) -> Encoded:
        """Encode a split (see `Task.encode`)."""
        encoded = super().encode(corpus, tokenizer, max_length, table=table, options=options)
        if options is not None and options.mask_probability == "uniform":
            return replace(encoded, mean_positions=int((encoded.counts + 1).sum(dtype=np.int64)) // 2)
        return encoded

    def draw_counts(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> NDArray[np.int64]:
        """The number of masked tokens of each text at a visit, int64 [R]."""
        counts = super().draw_counts(texts, visits, key)
        if self.encoded.given:
            return counts
        if self.options.mask_probability == "uniform":
            counts = 1 + (mix(np.uint64(key), _COUNT, visits, texts) % counts.astype(np.uint64)).astype(np.int64)
        return counts

    # ------------------------------------------------------------------ the order

    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Padded rows of texts, masked, and the order of their positions where it is random."""
        opened = super().open(texts, visits, key)
        if self.options.order != "random":
            return opened
        slots = np.arange(self.shape.positions)
        keys = mix(np.uint64(key), _ORDER, visits[:, None], texts[:, None], slots)
        block = np.broadcast_to(slots // (self.options.block_size or len(slots)), keys.shape)
        padded = slots >= opened.counts[:, None]
        return opened._replace(order=np.lexsort((keys, block, padded)).astype(np.int64))

    @property
    def in_steps(self) -> bool:
        """Whether a text takes several steps."""
        return self.options.per_step is not None

    @property
    def may_wait(self) -> bool:
        """Whether an action may leave positions open."""
        return bool(self.options.order == "learned")

    @property
    def needs_distributions(self) -> bool:
        """Whether the policy's distributions decide the order."""
        return self.options.order in SCORES and self.in_steps

    @property
    def max_steps(self) -> int | None:
        """Most steps of a text."""
        most: int | None = self.options.max_steps
        return most

    @property
    def may_end_open(self) -> bool:
        """Whether a text may end with open positions."""
        return self.may_wait or self.options.leave_open

    @property
    def step_cost(self) -> float:
        """What each step costs."""
        return float(self.options.step_cost)

    def due(self, progress: Progress) -> NDArray[np.bool_]:
        """Of a fixed order the next positions, of any other the open ones; of the block that is open, if there are any.

        The last step may decide all that is open, unless it stays open.
        """
        slots, block = np.arange(self.shape.positions), self.options.block_size
        begin = progress.decided[:, None]
        whole = np.inf if block is None else (begin // block + 1) * block  # where the block that is open ends
        if self.options.order in FIXED:
            now = np.zeros(progress.open.shape, np.bool_)
            next_ones = (slots >= begin) & (slots < np.minimum(begin + self.options.per_step, whole))
            np.put_along_axis(now, progress.order, next_ones, axis=1)
        else:
            now = np.broadcast_to(slots < whole, progress.open.shape)
        if not self.options.leave_open:
            now = now | progress.last[:, None]
        return now & progress.open

    def taken(
        self, due: NDArray[np.bool_], choices: NDArray[np.int64], scores: NDArray[np.float64] | None, last: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Those that do not wait; by scores the surest, `per_step` of them or more if they reach the `threshold`."""
        if scores is None:
            return super().taken(due, choices, scores, last)
        number = np.full(len(due), self.options.per_step)
        if self.options.threshold is not None:
            bound = self.options.threshold * (-1 if self.options.order == "entropy" else 1)
            number = np.maximum(number, (due & (scores >= bound)).sum(-1))
        if not self.options.leave_open:
            number[last] = due.shape[1]
        surest = np.argsort(np.where(due, -scores, np.inf), axis=1, kind="stable")
        found = np.zeros(due.shape, np.bool_)
        np.put_along_axis(found, surest, np.arange(due.shape[1]) < number[:, None], axis=1)
        return found & due

    def score(self, log_probs: NDArray[Any]) -> NDArray[np.float64] | None:
        """How sure distributions are, by the order; None if it does not ask."""
        return SCORES[self.options.order](log_probs) if self.needs_distributions else None
