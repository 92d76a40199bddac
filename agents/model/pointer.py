"""The pointer head: a text contains its own choices, each between markers, and logits are read at the markers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch as th
from torch.nn.functional import normalize

ABSENT = -1e4  # logit of a candidate that a text lacks; its probability is 0 in float32
_SHARPNESS = 15.0  # logits per unit of similarity


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
        similar = (sums / sizes.clamp(min=1)).gather(1, segment.gather(1, columns)) * _SHARPNESS
        if self.abstains:
            given = columns[:, 1:] > 0
            mean = (similar[:, 1:] * given).sum(1) / given.sum(1)
            similar = th.cat([mean[:, None], similar[:, 1:]], 1)
        return similar


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


def make_pointer(config: Any, pointer: Mapping[str, Any], choices: int) -> Pointer:
    """Return the pointer of a policy, and store it in the model's configuration.

    Args:
        config: configuration of the model.
        pointer: `marker`, `abstains` and `similarity`, from `policy_arguments` of the task.
        choices: n.

    Raises:
        ValueError: the checkpoint was trained with another pointer.
    """
    made = Pointer(**pointer, choices=choices)
    plain = {name: value for name, value in asdict(made).items() if name != "choices"}
    stored = getattr(config, "pointer", None)
    if stored is not None and stored != plain:
        raise ValueError(
            f"the model was trained with pointer={stored}, but this environment has {plain}: make it with the same "
            "tokenizer, marker, abstain and similarity"
        )
    config.pointer = plain
    return made
