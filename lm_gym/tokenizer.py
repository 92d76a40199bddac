"""Words to sub-token ids, with the Hugging Face `tokenizers` library."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lm_gym.data.errors import nearest
from lm_gym.hub import hub_or_cache
from lm_gym.vocab_txt import read_vocab_txt, way_out
from lm_gym.word_boundaries import separate_words

_UNKNOWN = ("[UNK]", "<unk>", "<UNK>")
_PADDING = ("[PAD]", "<pad>")
_MASK = ("[MASK]", "<mask>")
_BATCH = 16_384  # words encoded in one call


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """A tokenizer and the ids that a text environment needs.

    Attributes:
        tokenizer: the `tokenizers.Tokenizer`, without truncation and padding.
        source: where it came from, for messages.
        size: V, the number of ids.
        prefix: ids at the start of every text (`[CLS]`, `<s>`).
        suffix: ids at the end of every text (`[SEP]`, `</s>`).
        pad: the id of padding, 0 if the tokenizer has none.
        unknown: the id of unknown words, or None.
        mask: the id of the mask token, or None.
        special: bool [V], True at special tokens.
        continuation: the prefix of tokens that continue a word (`##`), or None if the tokenizer marks the tokens that
            begin a word instead.
    """

    tokenizer: Tokenizer
    source: str
    size: int
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int
    unknown: int | None
    mask: int | None
    special: NDArray[np.bool_]
    continuation: str | None = None

    @cached_property
    def maskable(self) -> NDArray[np.bool_]:
        """Which ids may be masked, bool [V]: all except special tokens and the unknown word."""
        allowed = ~self.special
        if self.unknown is not None:
            allowed[self.unknown] = False
        return allowed

    @property
    def frame(self) -> int:
        """Number of special tokens around every text."""
        return len(self.prefix) + len(self.suffix)

    @cached_property
    def spellings(self) -> NDArray[np.str_]:
        """The characters of every token, [V] (see `spell`)."""
        return np.array([self.spell(id_)[1] for id_ in range(self.size)])

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 over the tokenizer's description."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    def require_mask(self) -> int:
        """Return the id of the mask token.

        Raises:
            ValueError: if the tokenizer has none.
        """
        if self.mask is None:
            raise ValueError(
                f"the tokenizer {self.source} has no mask token (looked for {', '.join(_MASK)}), which masked language "
                "modelling needs: use the tokenizer of a masked language model, such as 'tiny'"
            )
        return self.mask

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to readable text, including special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def spell(self, id_: int) -> tuple[bool, str]:
        """Return whether a space comes before a token, and its characters."""
        token = self.tokenizer.id_to_token(id_) or ""
        if self.continuation is not None:
            continues = token.startswith(self.continuation)
            return not continues, token.removeprefix(self.continuation) if continues else token
        if self.special[id_]:
            return True, token
        return token[:1] in "Ġ▁", self.decode([id_]).strip()

    def spell_around(self, ids: Sequence[int], places: Sequence[int]) -> Iterator[tuple[bool, str, int | None]]:
        """Split a text into parts: each of `places`, and the text between them.

        Args:
            ids: sub-tokens of the text, including the special tokens around it.
            places: indices into ids, ascending.

        Yields:
            Whether a space comes before the part, its characters, and its index in `places` or None.
        """
        number = {place: k for k, place in enumerate(places)}
        for k, run in groupby(range(len(self.prefix), len(ids) - len(self.suffix)), number.get):
            spelled = [self.spell(ids[index]) for index in run]
            yield spelled[0][0], "".join(" " * spaced + piece for spaced, piece in spelled).lstrip(" "), k

    def encode_words(self, words: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Encode distinct words, each as it would be encoded inside a text of separate words.

        Args:
            words: the words, W of them.

        Returns:
            (ids int32 [S], offsets int64 [W + 1]): word w is ids[offsets[w]:offsets[w + 1]], never empty.

        Raises:
            ValueError: if a word gives no token and the tokenizer has no unknown token.
        """
        pieces: list[list[int]] = []
        for start in range(0, len(words), _BATCH):
            batch = [[word] for word in words[start : start + _BATCH]]
            encodings = self.tokenizer.encode_batch_fast(batch, is_pretokenized=True, add_special_tokens=False)
            pieces += [encoding.ids for encoding in encodings]
        for index, piece in enumerate(pieces):
            if not piece or words[index] in _UNKNOWN:
                pieces[index] = [self._unknown_for(words[index])]
        offsets = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
        return np.fromiter(chain.from_iterable(pieces), np.int32, int(offsets[-1])), offsets

    def encode_text(self, words: Sequence[str]) -> list[int]:
        """Encode one text of separate words in one call, without special tokens (slow; for checks)."""
        return list(self.tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False).ids)

    def encode_whole(self, words: Sequence[str]) -> list[int]:
        """Encode words joined by spaces, as a pipeline encodes a text (slow; for checks)."""
        return list(self.tokenizer.encode(" ".join(words), add_special_tokens=False).ids)

    def _unknown_for(self, word: str) -> int:
        if self.unknown is None:
            raise ValueError(
                f"the word {word!r} gives no token, and the tokenizer {self.source} has no unknown token to stand for "
                "it: remove the word, or add one of " + ", ".join(_UNKNOWN)
            )
        return self.unknown


def load_tokenizer(source: str | Path | Tokenizer | TextTokenizer) -> TextTokenizer:
    """Load a tokenizer.

    Args:
        source: `"tiny"` (shipped), a folder with a tokenizer.json or BERT's vocab.txt, the path of a tokenizer.json,
            `"hub:<id>"` or an id of the Hugging Face hub, a `tokenizers.Tokenizer`, or a `TextTokenizer` (returned
            unchanged).

    Raises:
        FileNotFoundError: if a path doesn't exist, or a folder has neither file.
        ValueError: if the file is not a tokenizer, or the hub has none.
    """
    if isinstance(source, TextTokenizer):
        return source
    if isinstance(source, Tokenizer):
        return _prepare(source, "given")
    if str(source) == "tiny":
        from lm_gym.builtin import tiny_path

        return _prepare(_read(Path(tiny_path()) / "tokenizer.json"), "tiny")
    path = Path(source)
    if path.is_dir():
        if not (path / "tokenizer.json").is_file():
            return _prepare(read_vocab_txt(path), str(source))
        path = path / "tokenizer.json"
    if path.is_file():
        return _prepare(_read(path), str(source))
    name = str(source)
    if not name.startswith("hub:") and (path.is_absolute() or name.startswith(".") or path.suffix == ".json"):
        raise FileNotFoundError(f"no tokenizer at {source}: it is neither a file nor a folder")
    if not name.startswith("hub:") and "/" not in name and (hint := nearest(name, ["tiny"])):
        raise ValueError(f"no tokenizer {name!r}{hint}: write 'hub:{name}' for one of the Hugging Face hub")
    return _prepare(_download(name.removeprefix("hub:")), name)


def _read(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise ValueError(f"{path} is not a tokenizer.json of the tokenizers library: {error}") from error


def _download(identifier: str) -> Tokenizer:
    with hub_or_cache(identifier) as unreachable:
        try:
            return Tokenizer.from_pretrained(identifier)
        except Exception as error:  # tokenizers raises plain Exception
            missing = f"no tokenizer {identifier!r}: it is not 'tiny' and not a file or folder here"
            if unreachable:
                raise ValueError(f"{missing}, {unreachable}, and the cache has none") from error
            raise ValueError(
                f"{missing}, and the Hugging Face hub gave none ({error}); if it has no tokenizer.json, "
                f"{way_out(identifier)}"
            ) from error


def _prepare(given: Tokenizer, source: str) -> TextTokenizer:
    """Copy a tokenizer without truncation and padding, let it encode separate words, and find its special ids."""
    written = given.to_str()
    tokenizer, description = Tokenizer.from_str(written), json.loads(written)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    separate_words(tokenizer, description)
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if size == 0:
        raise ValueError(f"the tokenizer {source} has an empty vocabulary")
    special = np.zeros(size, np.bool_)
    for id_, token in tokenizer.get_added_tokens_decoder().items():
        special[id_] = token.special
    prefix, suffix = _frame(tokenizer)
    model = description["model"]
    named = model.get("unk_token")
    unknown = _first_id(tokenizer, (named, *_UNKNOWN) if named else _UNKNOWN)
    padding, mask = _first_id(tokenizer, _PADDING), _first_id(tokenizer, _MASK)
    special[[id_ for id_ in (*prefix, *suffix, unknown, padding, mask) if id_ is not None]] = True
    return TextTokenizer(
        tokenizer=tokenizer,
        source=source,
        size=size,
        prefix=prefix,
        suffix=suffix,
        pad=padding or 0,
        unknown=unknown,
        mask=mask,
        special=special,
        continuation=_continuation(model),
    )


def _first_id(tokenizer: Tokenizer, names: Sequence[str]) -> int | None:
    ids = [tokenizer.token_to_id(name) for name in names]
    return next((id_ for id_ in ids if id_ is not None), None)


def _frame(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids that the post-processor adds before and after a text."""
    bare = tokenizer.encode(["a"], is_pretokenized=True, add_special_tokens=False).ids
    framed = tokenizer.encode(["a"], is_pretokenized=True, add_special_tokens=True).ids
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return tuple(framed[:start]), tuple(framed[start + len(bare) :])
    return (), ()


def _continuation(model: dict[str, Any]) -> str | None:
    """Return the prefix of tokens that continue a word, or None if tokens that begin a word are marked instead."""
    if model["type"] == "WordLevel":
        return "\0"  # nothing continues a word
    return model.get("continuing_subword_prefix", "##") if model["type"] == "WordPiece" else None
