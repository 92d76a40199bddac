"""The pointer head: a text contains its own choices, each between markers, and logits are read at the markers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch as th
from torch.nn.functional import normalize

Read = Callable[[th.Tensor, th.Tensor], th.Tensor]
"""Maps ids and attention mask, [R, W] each, to the encoder's states [R, W, H]."""

ABSENT = -1e4  # logit of a candidate that a text lacks; its probability is 0 in float32
SHARPNESS = 15.0  # logits per unit of similarity


@dataclass(frozen=True)
class Pointer:
    """The places at which the candidates of a text are read.

    The first marker of a text ends its context, and each of the others ends a candidate.

    Attributes:
        marker: id of the token behind the context and behind each candidate.
        abstains: whether the last marker of a text is that of choice 0, which abstains, and candidates count from 1.
        similarity: whether logits include the similarity of the context and the candidate.
        choices: n, maximum number of choices of a text.
    """

    marker: int
    abstains: bool
    similarity: bool
    choices: int

    @property
    def longest(self) -> None:
        """The model reads whole texts."""

    @property
    def rows(self) -> int:
        """Number of rows that the encoder reads for each text."""
        return 1

    @property
    def states(self) -> int:
        """Number of hidden states that the head reads for each position: those of the candidates."""
        return self.choices

    def encode(self, read: Read, ids: th.Tensor, mask: th.Tensor, rows: th.Tensor, *, once: bool = True) -> th.Tensor:
        """Encode texts.

        Args:
            read: the encoder.
            ids: int64 [B, L].
            mask: [B, L], 1 at real sub-tokens.
            rows: int64 [Q], texts to return.
            once: as in `Towers.encode`; texts have no parts here.

        Returns:
            The candidates of the texts `rows`, [Q, n, H + 1], see `read`.
        """
        marked = (ids == self.marker) & (mask > 0)  # some models pad with the token that marks
        return self.read(read(ids, mask), rows, *self.columns(marked), marked)

    def columns(self, marked: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Find the marker of each choice.

        Args:
            marked: bool [B, L], the markers of texts.

        Returns:
            The column of each choice, int64 [B, n], 0 if the text lacks it; and which choices it has, bool [B, n].
        """
        number = marked.cumsum(1)
        rows, found = (marked & (number > 1)).nonzero(as_tuple=True)
        choice = number[rows, found] - 2
        if self.abstains:
            last = number[rows, -1] - 2
            choice = th.where(choice == last, 0, choice + 1)
        columns = found.new_zeros(len(marked), self.choices)
        columns[rows, choice] = found
        return columns, columns > 0

    def read(
        self, output: th.Tensor, rows: th.Tensor, columns: th.Tensor, there: th.Tensor, marked: th.Tensor
    ) -> th.Tensor:
        """Read the candidates of the texts `rows`.

        Args:
            output: the encoder's states [B, L, H].
            rows: int64 [Q].
            columns: int64 [B, n], see `columns`.
            there: bool [B, n].
            marked: bool [B, L], aligned with `output`.

        Returns:
            [Q, n, H + 1]: the state at each candidate's marker, and its similarity to the context; zeros for candidates
            that a text lacks.
        """
        states = output.gather(1, columns[..., None].expand(-1, -1, output.shape[-1]))
        similar = self._similarities(output, columns, marked) if self.similarity else states.new_zeros(states.shape[:2])
        return th.cat([states, similar[..., None]], -1).masked_fill(~there[..., None], 0.0)[rows]

    def _similarities(self, output: th.Tensor, columns: th.Tensor, marked: th.Tensor) -> th.Tensor:
        """Return how well the context covers each candidate, [B, n], by late interaction.

        For each token of a candidate, take the largest cosine of its state with those of the context; the similarity
        is the scaled mean over the candidate (ColBERT, Khattab and Zaharia 2020). That of abstaining is the mean over
        the candidates.
        """
        unit = normalize(output, dim=-1)
        segment = marked.cumsum(1) - marked.long()  # the context is 0, candidates count from 1
        cosines = unit @ unit.transpose(1, 2)  # [B, L, L]
        nearest = cosines.masked_fill(~((segment == 0) & ~marked)[:, None], -1.0).amax(-1)  # [B, L]
        sums = nearest.new_zeros(len(output), int(segment.max()) + 1)
        sizes = sums.scatter_add(1, segment, (~marked).to(sums.dtype))
        sums = sums.scatter_add(1, segment, nearest.masked_fill(marked, 0.0))
        similar = (sums / sizes.clamp(min=1)).gather(1, segment.gather(1, columns)) * SHARPNESS
        if self.abstains:
            given = columns[:, 1:] > 0
            mean = (similar[:, 1:] * given).sum(1) / given.sum(1).clamp(min=1)
            similar = th.cat([mean[:, None], similar[:, 1:]], 1)
        return similar

    def head_states(self, hidden: th.Tensor) -> th.Tensor:
        """Return the states that the model's head reads, [Q · n, H]."""
        return hidden[..., :-1].flatten(0, 1)

    def logits(self, output: th.Tensor, hidden: th.Tensor) -> th.Tensor:
        """Return `pointer_logits`."""
        return pointer_logits(output, hidden)


def pointer_logits(logits: th.Tensor, hidden: th.Tensor) -> th.Tensor:
    """Arrange logits by text, add similarities, and give `ABSENT` to candidates that a text lacks.

    Args:
        logits: the head's, one per state, [Q·n, 1]; or [p·Q·n, 1] if p members of a population share the states.
        hidden: [Q, n, H + 1], see `Pointer.read`.

    Returns:
        float32 [Q, n] or [p·Q, n].
    """
    absent = (hidden[..., :-1] == 0).all(-1)
    found = logits.float().view(-1, *absent.shape) + hidden[..., -1].float()
    return found.masked_fill(absent, ABSENT).flatten(0, 1)
