"""Changes to a tokenizer that let it encode a single word as it does after a space.

An environment encodes the words of a text one by one, so that no sub-token spans two words. Tokenizers that mark the
space before a word (byte-level BPE, SentencePiece) must then put this mark before each word.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from tokenizers import Tokenizer

_PROBES = ("a", "of", "Oslo's", "x-y", "3.5", "(b)", ".", "straße")
_LEADS = ("a", "the", ".")


def separate_words(tokenizer: Tokenizer, description: Mapping[str, Any]) -> None:
    """Change a tokenizer in place so that a single word is encoded as after a space, if that is possible.

    This tries several ways to put a space before a word on a few words, and keeps the first that is right for most of
    them. A tokenizer that is already right is not changed.

    Args:
        tokenizer: the tokenizer, without truncation.
        description: its JSON.
    """
    wanted = {word: _behind_a_space(tokenizer, word) for word in _PROBES}
    best, parts = -1, (tokenizer.pre_tokenizer, tokenizer.normalizer)
    for pre_tokenizer, normalizer in _ways(description.get("pre_tokenizer"), description.get("normalizer")):
        _set(tokenizer, *_built(pre_tokenizer, normalizer))
        right = sum(_ids(tokenizer, [word]) == ids for word, ids in wanted.items())
        if right > best:
            best, parts = right, (tokenizer.pre_tokenizer, tokenizer.normalizer)
        if right == len(wanted):
            break
    _set(tokenizer, *parts)


def _behind_a_space(tokenizer: Tokenizer, word: str) -> list[int]:
    """Return the ids of a word inside a text, after those of the previous word; None if they cannot be separated."""
    for lead in _LEADS:
        alone, both = _ids(tokenizer, lead), _ids(tokenizer, f"{lead} {word}")
        if alone and both[: len(alone)] == alone:
            return both[len(alone) :]
    return _ids(tokenizer, f" {word}")


def _ids(tokenizer: Tokenizer, text: str | list[str]) -> list[int]:
    return list(tokenizer.encode(text, is_pretokenized=isinstance(text, list), add_special_tokens=False).ids)


def _ways(pre_tokenizer: Any, normalizer: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the unchanged parts of a tokenizer, and then each variant that may put a space before a word."""
    yield pre_tokenizer, normalizer
    for kind, setting in (("ByteLevel", {"add_prefix_space": True}), ("Metaspace", {"prepend_scheme": "always"})):
        changed = deepcopy(pre_tokenizer)
        if _change(changed, kind, setting):
            yield changed, normalizer
    for space in (" ", "▁"):
        before = [] if normalizer is None else [normalizer]
        yield pre_tokenizer, {"type": "Sequence", "normalizers": [*before, {"type": "Prepend", "prepend": space}]}


def _change(node: object, kind: str, setting: dict[str, Any]) -> int:
    """Change the settings of every part of a kind, and return the number of parts."""
    if isinstance(node, list):
        return sum(_change(child, kind, setting) for child in node)
    if not isinstance(node, dict):
        return 0
    here = node.get("type") == kind
    if here:
        node.update(setting)
    return here + sum(_change(child, kind, setting) for child in node.values())


def _built(pre_tokenizer: Any, normalizer: Any) -> tuple[Any, Any]:
    """Create the pre-tokenizer and the normalizer from their descriptions."""
    empty = json.loads(Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {}, "merges": []}}').to_str())
    built = Tokenizer.from_str(json.dumps({**empty, "pre_tokenizer": pre_tokenizer, "normalizer": normalizer}))
    return built.pre_tokenizer, built.normalizer


def _set(tokenizer: Tokenizer, pre_tokenizer: Any, normalizer: Any) -> None:
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.normalizer = normalizer
