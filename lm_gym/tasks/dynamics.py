"""The dynamics of an episode: how it starts, which choices are legal, what they change, and when it ends."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks.encoded_split import EncodedSplit


class OpenedTexts(NamedTuple):
    """Padded texts at the start of episodes.

    Attributes:
        input_ids: int64 [R, L].
        lengths: int64 [R], number of sub-tokens.
        positions: int64 [R, T]; 0 where padded.
        counts: int64 [R], number of positions.
        targets: int64 [R, T]; n where padded.
        order: int64 [R, T], slots of each row in the order in which they are decided, padded ones last; None for left
            to right.
    """

    input_ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    positions: NDArray[np.int64]
    counts: NDArray[np.int64]
    targets: NDArray[np.int64]
    order: NDArray[np.int64] | None = None


class Dynamics(EncodedSplit):
    """The members of a task that define what happens in an episode. All of them work on many texts at once.

    Attributes:
        static_masks: whether the legal choices are independent of earlier choices.
        masked: whether observations always have `action_mask`, regardless of `mask_actions`.
    """

    static_masks: ClassVar[bool] = True
    masked: ClassVar[bool] = False

    def draw_counts(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> NDArray[np.int64]:
        """Return the number of positions of each text at a visit, int64 [R]; for the arguments, see `open`."""
        return self.encoded.counts[texts].astype(np.int64)

    @abstractmethod
    def open(self, texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> OpenedTexts:
        """Return padded rows of texts at the start of episodes.

        Args:
            texts: int64 [R], indices of texts.
            visits: int64 [R], number of earlier visits of each text.
            key: key of the random positions of this visit, if positions are random.
        """

    def legal(self, predictions: NDArray[np.int64], cursor: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the legal choices at the cursor, bool [N, n]; None if they do not depend on earlier choices."""
        return None

    def allowed(self, texts: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Return the choices that texts have, int64 [R] → bool [R, n]; None if every text has all of them."""
        return None

    @property
    def always_legal(self) -> NDArray[np.bool_]:
        """Choices that can be legal at any position, bool [n]."""
        return np.ones(self.shape.choices, np.bool_)

    @property
    def abstention(self) -> int | None:
        """The choice that abstains from the others; None if there is none."""
        return None

    @property
    def distinct(self) -> bool:
        """Whether the choices of a text must differ from one another."""
        return False

    def gains(self, texts: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return the relevance of each choice of some texts, int64 [R] → float64 [R, n]; None if there is none."""
        return None

    def obeys(self, observation: Mapping[str, NDArray[Any]], choices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which texts obey the task's rule (called only if `gold` has the kind "rule").

        Args:
            observation: the observation of N texts, with or without their decisions.
            choices: int64 [..., N, T], what is at the positions; n where they are open.

        Returns:
            bool [..., N].
        """
        raise NotImplementedError(f"{self.env_id} has no rule")

    @property
    def writes(self) -> bool:
        """Whether decisions change the text for later decisions."""
        return False

    def write(
        self,
        observation: Mapping[str, NDArray[Any]],
        rows: NDArray[np.int64],
        slots: NDArray[np.int64],
        choices: NDArray[np.int64],
    ) -> None:
        """Change the texts of some rows after a decision; called only if `writes` is True.

        Args:
            observation: the live observation, [N, …], changed in place.
            rows: int64 [R], the rows that decided.
            slots: int64 [R], the decided position of each row.
            choices: int64 [R], the choice of each row.
        """

    def ended(self, decided: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which episodes have ended, bool [N], by the numbers of decided and of all positions, int64 [N]."""
        return decided >= counts
