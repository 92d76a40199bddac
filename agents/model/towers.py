"""The two-tower head: a context and its candidates are encoded separately and compared by a scaled dot product."""

from __future__ import annotations

from dataclasses import dataclass

import torch as th
from torch.nn.functional import normalize

from lm_gym.agents.model.distinct import distinct_texts
from lm_gym.agents.model.pointer import ABSENT, Read

SCALE = 20.0  # logits per unit of cosine, as in Sentence-Transformers


@dataclass(frozen=True)
class Towers:
    """A bi-encoder (Reimers and Gurevych 2019) over texts whose parts end with markers: a context, then candidates.

    Each part of a text is encoded as a separate text, with its marker and the tokenizer's special tokens. The
    state of a part is the mean over its tokens. The model's head maps it to an embedding, and the logit of a candidate
    is the scaled cosine of its embedding and that of the context.

    Attributes:
        marker: id of the token that ends each part.
        abstains: whether the last part, a marker alone, is choice 0, which abstains, and candidates count from 1.
        prefix: special tokens before a text.
        suffix: special tokens after a text.
        longest: maximum number of sub-tokens of a part, including special tokens.
        choices: n, maximum number of choices of a text.
    """

    marker: int
    abstains: bool
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    longest: int
    choices: int

    @property
    def rows(self) -> int:
        """Number of rows that the encoder reads for each text: the context and the candidates."""
        return self.choices + 1

    @property
    def states(self) -> int:
        """Number of hidden states that the head reads for each position: those of the context and the candidates."""
        return self.choices + 1

    def encode(self, read: Read, ids: th.Tensor, mask: th.Tensor, rows: th.Tensor, *, once: bool = True) -> th.Tensor:
        """Encode the parts of texts.

        Args:
            read: the encoder.
            ids: int64 [B, L].
            mask: [B, L], 1 at real sub-tokens.
            rows: int64 [Q], texts to return.
            once: whether equal parts of different texts, such as replies of a bank, are encoded once. Not if the rows
                of a batch run with different weights.

        Returns:
            [Q, n + 1, H], the states of the context and of each choice; zeros for choices that a text lacks.
        """
        parts, inside, there = self.split(ids, mask)
        part = th.arange(len(parts), device=parts.device)
        if once:
            first, part = distinct_texts(parts, inside)
            parts, inside = parts[first], inside[first]
        output = read(parts, inside)  # [U, W, H], or [B·(n + 1), W, H]
        weights = inside.to(output.dtype)[..., None]
        states = ((output * weights).sum(1) / weights.sum(1))[part]
        return states.view(*there.shape, -1).masked_fill(~there[..., None], 0.0)[rows]

    def split(self, ids: th.Tensor, mask: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Split texts into their parts: the context, then the choices in order; same arguments as `encode`.

        Returns:
            Ids int64 [B·(n + 1), W] and attention mask of texts of one part each; and which parts there are, bool [B,
            n + 1]. Parts that a text lacks have the special tokens alone.
        """
        marked = (ids == self.marker) & (mask > 0)  # some models pad with the token that marks
        number, count = marked.cumsum(1), marked.sum(1, keepdim=True)
        ends = ids.new_zeros(len(ids), self.states + 1)  # [B, n + 2], one past the marker of each part
        ends[:, 0] = len(self.prefix)
        text, place = marked.nonzero(as_tuple=True)
        ends[text, number[text, place]] = place + 1
        part = th.arange(self.states, device=ids.device).expand(len(ids), -1)
        there = part < count
        if self.abstains:  # the last part is choice 0
            part = th.where(part == 1, (count - 1).clamp(min=0), (part - 1).clamp(min=0))
        starts = ends.gather(1, part)
        lengths = th.where(there, ends.gather(1, part + 1) - starts, 0).flatten()[:, None]
        before, behind = len(self.prefix), len(self.suffix)
        width = max(1, int(lengths.max()) + before + behind)
        column = th.arange(width, device=ids.device)
        source = (starts.flatten()[:, None] + column - before).clamp(0, ids.shape[1] - 1)
        found = ids.repeat_interleave(self.states, 0).gather(1, source)
        for index, id_ in enumerate(self.prefix):
            found[:, index] = id_
        for index, id_ in enumerate(self.suffix):
            found = found.scatter(1, lengths + before + index, id_)
        return found, (column < (lengths + before + behind).clamp(min=1)).long(), there

    def head_states(self, hidden: th.Tensor) -> th.Tensor:
        """Return the states that the model's head reads, [Q · (n + 1), H]."""
        return hidden.flatten(0, 1)

    def embeddings(self, output: th.Tensor, hidden: th.Tensor) -> th.Tensor:
        """Arrange the head's output by text and normalise it.

        Args:
            output: the head's, [Q · (n + 1), D]; or [p · Q · (n + 1), D] if p members of a population share the states.
            hidden: [Q, n + 1, H], see `encode`.

        Returns:
            float32 [(p · )Q, n + 1, D] of length 1.
        """
        return normalize(output.float(), dim=-1).view(-1, hidden.shape[1], output.shape[-1])

    def logits(self, output: th.Tensor, hidden: th.Tensor) -> th.Tensor:
        """Return scaled cosines of the context and each choice, float32 [(p · )Q, n]; arguments of `embeddings`."""
        made = self.embeddings(output, hidden)
        cosines = (made[:, 1:] @ made[:, 0, :, None]).squeeze(-1)
        absent = (hidden[:, 1:] == 0).all(-1)
        absent = absent.repeat(len(cosines) // len(absent), 1)
        return (cosines * SCALE).masked_fill(absent, ABSENT)
