"""How a tokenizer is brought to encode a word on its own as it encodes it behind a space.

An environment encodes the words of a text one by one, so that every word has sub-tokens of its own. Tokenizers that
mark the space before a word (byte-level BPE, SentencePiece) then have to put that mark in front of each word.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from tokenizers import Tokenizer

_PROBES = ("a", "of", "Oslo's", "x-y", "3.5", "(b)", ".", "straße")
_LEADS = ("a", "the", ".")


def separate_words(tokenizer: Tokenizer, description: Mapping[str, Any]) -> None:
    """Change a tokenizer in place so that a word alone gives what it gives behind a space, where that is possible.

    Several ways to put a space in front of a word are tried on a few words; the first that is right for most of them is
    taken, none if the tokenizer is right as it is.

    Args:
        tokenizer: without truncation.
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
    """The ids of a word inside a text: what follows those of the word before it, where that can be told."""
    for lead in _LEADS:
        alone, both = _ids(tokenizer, lead), _ids(tokenizer, f"{lead} {word}")
        if alone and both[: len(alone)] == alone:
            return both[len(alone) :]
    return _ids(tokenizer, f" {word}")


def _ids(tokenizer: Tokenizer, text: str | list[str]) -> list[int]:
    return list(tokenizer.encode(text, is_pretokenized=isinstance(text, list), add_special_tokens=False).ids)


def _ways(pre_tokenizer: Any, normalizer: Any) -> Iterator[tuple[Any, Any]]:
    """The parts of a tokenizer as they are, and with one change after another that may put a space before a word."""
    yield pre_tokenizer, normalizer
    for kind, setting in (("ByteLevel", {"add_prefix_space": True}), ("Metaspace", {"prepend_scheme": "always"})):
        changed = deepcopy(pre_tokenizer)
        if _change(changed, kind, setting):
            yield changed, normalizer
    for space in (" ", "▁"):
        before = [] if normalizer is None else [normalizer]
        yield pre_tokenizer, {"type": "Sequence", "normalizers": [*before, {"type": "Prepend", "prepend": space}]}


def _change(node: object, kind: str, setting: dict[str, Any]) -> int:
    """Change the settings of every part of a kind, and count them."""
    if isinstance(node, list):
        return sum(_change(child, kind, setting) for child in node)
    if not isinstance(node, dict):
        return 0
    here = node.get("type") == kind
    if here:
        node.update(setting)
    return here + sum(_change(child, kind, setting) for child in node.values())


def _built(pre_tokenizer: Any, normalizer: Any) -> tuple[Any, Any]:
    """The pre-tokenizer and the normalizer of these descriptions."""
    empty = json.loads(Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {}, "merges": []}}').to_str())
    built = Tokenizer.from_str(json.dumps({**empty, "pre_tokenizer": pre_tokenizer, "normalizer": normalizer}))
    return built.pre_tokenizer, built.normalizer


def _set(tokenizer: Tokenizer, pre_tokenizer: Any, normalizer: Any) -> None:
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.normalizer = normalizer
