"""Masked language modelling: positions are masked tokens, and choices are the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lm_gym.bounds import PositiveFraction, bounded
from lm_gym.naming import check_choice
from lm_gym.tasks.masked_texts import MaskedTexts


@bounded
@dataclass(frozen=True)
class MaskedLMOptions:
    """Arguments of masked language modelling.

    Args:
        mask_probability: fraction of a text's tokens to mask, in (0, 1].
        fill: `"parallel"`: masks stay during an episode; `"sequential"`: a prediction replaces its mask in
            `input_ids`, so that later decisions see it (with `unit="token"`).

    Raises:
        ValueError: a value is unknown or out of range.
    """

    mask_probability: PositiveFraction = 0.15
    fill: Literal["parallel", "sequential"] = "parallel"

    def __post_init__(self) -> None:
        check_choice("fill", self.fill, ("parallel", "sequential"))


class MaskedLM(MaskedTexts):
    """Restore the masked tokens of a text.

    An episode is one text, or a piece of at most `max_length` sub-tokens of a longer text, cut between words. Exactly
    max(1, round(`mask_probability` × number of maskable tokens)) of its tokens are replaced by the mask token, and each
    of them is a position. (Unlike BERT's training loss, which uses 80/10/10, every chosen token is masked.) Special
    tokens and unknown words are never masked; pieces without other tokens are dropped. The agent predicts the masked
    tokens, from left to right or all at once.

    The masked tokens depend on the seed, the text, and the number of its earlier visits. For texts selected by
    `indices`, they depend only on the text, so that evaluations are reproducible. `action_masks()` excludes special
    tokens and the unknown word.
    """

    name = "masked_lm"
    env_id = "lm_gym/MaskedLM-v0"
    default_reward = "log_likelihood"
    Options = MaskedLMOptions

    @classmethod
    def num_masked(cls, maskable: NDArray[np.int64], options: MaskedLMOptions) -> NDArray[np.int64]:
        """Return the fraction `mask_probability` of the maskable tokens, at least 1."""
        number: NDArray[np.int64] = np.maximum(1, np.rint(options.mask_probability * maskable)).astype(np.int64)
        return number

    @classmethod
    def check(cls, unit: str, options: MaskedLMOptions) -> None:
        """See `Task.check`."""
        if options.fill == "sequential" and unit == "sequence":
            raise ValueError(
                "fill='sequential' shows earlier predictions to later decisions, but unit='sequence' decides all at "
                "once: use unit='token' or fill='parallel'"
            )

    @classmethod
    def whole(cls, options: MaskedLMOptions) -> MaskedLMOptions:
        """Return options with `fill="parallel"`, because whole texts are decided at once."""
        return replace(options, fill="parallel")

    @property
    def writes(self) -> bool:
        """Whether predictions replace their masks."""
        return bool(self.options.fill == "sequential")
