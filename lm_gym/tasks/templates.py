"""Templates: prompts such as `{text} It was {mask}.` into which texts are inserted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.naming import among
from lm_gym.ragged import to_offsets

if TYPE_CHECKING:
    from lm_gym.tokenizer import TextTokenizer

MASK = "mask"


class Texts(NamedTuple):
    """Ragged texts: their sub-tokens, int32 [S], and their lengths, int64 [N]."""

    flat: NDArray[np.int32]
    lengths: NDArray[np.int64]

    def cut(self, most: NDArray[np.int64]) -> Texts:
        """Cut each text to at most `most` [N] sub-tokens."""
        if (self.lengths <= most).all():
            return self
        inside = _counted(self.lengths) < np.repeat(most, self.lengths)
        return Texts(self.flat[inside], np.minimum(self.lengths, most))


@dataclass(frozen=True)
class Template:
    """A prompt for texts.

    Attributes:
        parts: in order, the name of a text, or token ids that are the same for all texts.
        prefix: special tokens before the parts.
        suffix: special tokens after the parts.
        place: where the decision is made: the index of the part that is the mask; at the `"first"` token, including
            special ones; at the `"end"` of the parts; or at the `"last"` token, including special ones.
    """

    parts: tuple[str | tuple[int, ...], ...]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    place: int | Literal["first", "end", "last"]

    @property
    def names(self) -> list[str]:
        """Names of its texts, in order."""
        return [part for part in self.parts if isinstance(part, str)]

    @property
    def literal(self) -> int:
        """Number of sub-tokens that are equal for all texts, without special tokens."""
        return sum(len(part) for part in self.parts if not isinstance(part, str))

    def fill(self, texts: Mapping[str, Texts], room: int) -> tuple[Texts, NDArray[np.int64], NDArray[np.bool_]]:
        """Insert texts. Texts that are too long lose their ends; of a pair, the longer text is cut first.

        Args:
            texts: N texts for each name.
            room: maximum number of sub-tokens of a filled template, without special tokens.

        Returns:
            The filled templates without special tokens; the position of the decision in each, counting special tokens,
            int64 [N]; and which texts were cut, bool [N].
        """
        given = _cut_to([texts[name] for name in self.names], room - self.literal)
        cut = np.any([kept.lengths < texts[name].lengths for name, kept in zip(self.names, given, strict=True)], axis=0)
        filled = dict(zip(self.names, given, strict=True))
        pieces = [filled[part] if isinstance(part, str) else _repeated(part, len(cut)) for part in self.parts]
        ends = np.cumsum([piece.lengths for piece in pieces], axis=0)  # [parts, N], relative to the start of the text
        starts = to_offsets(ends[-1])[:-1]
        flat = np.empty(int(ends[-1].sum()), np.int32)
        for piece, end in zip(pieces, ends, strict=True):
            flat[np.repeat(starts + end - piece.lengths, piece.lengths) + _counted(piece.lengths)] = piece.flat
        return Texts(flat, ends[-1]), self._places(ends), cut

    def _places(self, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.place == "first":
            return np.zeros(ends.shape[1], np.int64)
        closing = len(self.suffix) if self.place == "last" else 0
        end = ends[self.place] if isinstance(self.place, int) else ends[-1]
        return np.asarray(len(self.prefix) + end + closing - 1, np.int64)


def joined(names: Sequence[str], tokenizer: TextTokenizer) -> Template:
    """Return the template for a classifier without a prompt: the texts as the tokenizer joins a pair.

    The decision is made at the first token if the tokenizer adds tokens on both sides (BERT's [CLS]), and at the last
    token otherwise.
    """
    parts: list[str | tuple[int, ...]] = [names[0]]
    for name in names[1:]:
        parts += [between(tokenizer), name]
    return Template(
        tuple(part for part in parts if part), tokenizer.prefix, tokenizer.suffix, _classified_at(tokenizer)
    )


def read_template(template: str, names: Sequence[str], tokenizer: TextTokenizer, *, answers: bool) -> Template:
    """Parse a template.

    Args:
        template: text with each of `names` in braces once, and `{mask}` at most once.
        names: names of the texts.
        tokenizer: encodes the text between placeholders.
        answers: whether label words are predicted, at the mask or after the end; otherwise a classifier reads it.

    Raises:
        ValueError: a placeholder is unknown, missing or repeated; the template has a mask and the tokenizer none; or
            label words are predicted, the tokenizer has a mask token, and the template has none.
    """
    try:
        pieces = [(literal, name) for literal, name, *_ in Formatter().parse(template)]
    except ValueError as error:
        raise ValueError(f"template {template!r}: {error}; write {{{{ and }}}} for braces") from None
    _check(template, [name for _, name in pieces if name is not None], names)
    parts: list[str | tuple[int, ...]] = []
    place: int | Literal["first", "end", "last"] = "end" if answers else _classified_at(tokenizer)
    for literal, name in pieces:
        if ids := encode_literal(tokenizer, literal, begins=not parts):
            parts.append(ids)
        if name == MASK:
            if tokenizer.mask is None:
                raise ValueError(
                    f"template {template!r} has a {{mask}}, but the tokenizer {tokenizer.source} has no mask token: "
                    "leave {mask} out, and the label word is predicted after the template"
                )
            place = len(parts)
            parts.append((tokenizer.mask,))
        elif name is not None:
            parts.append(name)
    if place == "end" and tokenizer.mask is not None:
        raise ValueError(
            f"template {template!r} has no {{mask}}, but the tokenizer {tokenizer.source} has a mask token: mark the "
            "place of the label word, as in '{text} It was {mask}.'"
        )
    return Template(tuple(parts), tokenizer.prefix, tokenizer.suffix, place)


def _check(template: str, found: Sequence[str], names: Sequence[str]) -> None:
    for name in found:
        if name not in (*names, MASK):
            raise ValueError(f"template {template!r}: no placeholder {{{name}}}{among(name, [*names, MASK])}")
        if found.count(name) > 1:
            raise ValueError(f"template {template!r}: {{{name}}} occurs twice")
    for name in names:
        if name not in found:
            raise ValueError(f"template {template!r} has no {{{name}}}: add it where the text belongs")


def _classified_at(tokenizer: TextTokenizer) -> Literal["first", "last"]:
    return "first" if tokenizer.prefix and tokenizer.suffix else "last"


def between(tokenizer: TextTokenizer) -> tuple[int, ...]:
    """Return the ids that the tokenizer inserts between the two texts of a pair, such as [SEP]."""
    one = tokenizer.tokenizer.encode("a", add_special_tokens=False).ids
    pair = tokenizer.tokenizer.encode("a", "a").ids
    inner = pair[len(tokenizer.prefix) + len(one) : len(pair) - len(tokenizer.suffix) - len(one)]
    return tuple(inner)


def encode_literal(tokenizer: TextTokenizer, literal: str, *, begins: bool) -> tuple[int, ...]:
    """Return the token ids of a piece of a template, without trailing spaces, which belong to the next word."""
    piece = literal.rstrip(" ")
    if not piece:
        return ()

    def ids(text: str) -> list[int]:
        return list(tokenizer.tokenizer.encode(text, add_special_tokens=False).ids)

    behind = ids("a")  # some tokenizers encode a piece differently after a word
    whole = [] if begins else ids("a" + piece)
    return tuple(whole[len(behind) :] if whole[: len(behind)] == behind and whole else ids(piece))


def _cut_to(texts: list[Texts], room: int) -> list[Texts]:
    """Cut one or two texts to at most `room` sub-tokens in total, the longer text first."""
    if len(texts) == 1:
        return [texts[0].cut(np.full(len(texts[0].lengths), room))]
    one, other = texts
    first = np.minimum(one.lengths, np.maximum(room - other.lengths, room - room // 2))
    return [one.cut(first), other.cut(np.minimum(other.lengths, room - first))]


def _repeated(ids: tuple[int, ...], times: int) -> Texts:
    return Texts(np.tile(np.array(ids, np.int32), times), np.full(times, len(ids)))


def _counted(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of each element in its row, int64 [sum(lengths)]."""
    return np.arange(int(lengths.sum())) - np.repeat(to_offsets(lengths)[:-1], lengths)
