"""Masked language modelling: masked tokens are positions, the vocabulary the choices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lm_gym.naming import check_choice
from lm_gym.tasks.masked_texts import MaskedTexts


@dataclass(frozen=True)
class MaskedLMOptions:
    """Arguments of masked language modelling.

    Args:
        mask_probability: fraction of a text's tokens that is masked, in (0, 1].
        fill: `"parallel"`: masks stay while an episode runs; `"sequential"`: a prediction takes the place of its mask
            in `input_ids`, so that later decisions see it (with `unit="token"`).

    Raises:
        ValueError: a value is unknown or out of range.
    """

    mask_probability: float = 0.15
    fill: Literal["parallel", "sequential"] = "parallel"

    def __post_init__(self) -> None:
        check_choice("fill", self.fill, ("parallel", "sequential"))
        if not 0.0 < self.mask_probability <= 1.0:
            raise ValueError(f"mask_probability={self.mask_probability} is outside (0, 1]: 0.15 is usual")


class MaskedLM(MaskedTexts):
    """Restore the masked tokens of a text.

    An episode is one text, or a piece of at most `max_length` sub-tokens of a longer one, cut between words. Of its
    tokens, exactly max(1, round(`mask_probability` × those that may be masked)) are replaced by the mask token; each
    of them is a position. (All are masked: BERT's 80/10/10 is a device of its training loss.) Special tokens and
    unknown words are never masked; a piece of nothing else is dropped. The agent says which token stood there, from
    left to right or all at once.

    Which tokens are masked depends on the seed, the text, and how often it has been played before; for texts asked for
    by `indices` on the text alone, so that an evaluation is the same everywhere. `action_masks()` leaves out special
    tokens and the unknown word.
    """

    name = "masked_lm"
    env_id = "lm_gym/MaskedLM-v0"
    default_reward = "log_likelihood"
    Options = MaskedLMOptions

    @classmethod
    def num_masked(cls, maskable: NDArray[np.int64], options: MaskedLMOptions) -> NDArray[np.int64]:
        """The fraction `mask_probability` of those that may be masked, one at least."""
        return np.maximum(1, np.rint(options.mask_probability * maskable)).astype(np.int64)

    @classmethod
    def check(cls, unit: str, options: MaskedLMOptions) -> None:
        """See `Task.check`."""
        if options.fill == "sequential" and unit == "sequence":
            raise ValueError(
                "fill='sequential' shows earlier predictions to later decisions, and unit='sequence' decides all at "
                "once: take unit='token' or fill='parallel'"
            )

    @classmethod
    def whole(cls, options: MaskedLMOptions) -> MaskedLMOptions:
        """All masks stay: whole texts are decided at once."""
        return replace(options, fill="parallel")

    @property
    def writes(self) -> bool:
        """Whether predictions take the place of their masks."""
        return bool(self.options.fill == "sequential")
