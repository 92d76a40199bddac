"""BERT's tokenizer from the `vocab.txt` of older checkpoints, which have no `tokenizer.json`."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
_SPECIAL = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}


def read_vocab_txt(folder: Path) -> Tokenizer:
    """Return the tokenizer that transformers would make from a vocab.txt and, if present, a tokenizer_config.json.

    Raises:
        FileNotFoundError: there is no vocab.txt, or it belongs to another kind of tokenizer; the message says how to
        write the tokenizer.json.
        ValueError: tokenizer_config.json is not a JSON object, or vocab.txt lacks a special token.
    """
    file, settings = folder / "vocab.txt", _settings(folder / "tokenizer_config.json")
    kind = settings.get("tokenizer_class") or _CLASSES[0]
    if not file.is_file() or kind.removesuffix("Fast") not in _CLASSES:
        raise FileNotFoundError(f"no tokenizer.json in the folder {folder}: {way_out(str(folder))}")
    tokens = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    vocabulary = {token.rstrip("\r"): index for index, token in enumerate(tokens)}
    special = {role: _content(settings.get(f"{role}_token", token)) for role, token in _SPECIAL.items()}
    missing = [token for role, token in special.items() if token not in vocabulary and role in ("unk", "cls", "sep")]
    if missing:
        raise ValueError(f"{file} lacks the special tokens {', '.join(missing)}: name them in tokenizer_config.json")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    opening, closing = special["cls"], special["sep"]
    tokenizer.post_processor = processors.BertProcessing((closing, vocabulary[closing]), (opening, vocabulary[opening]))
    known = [AddedToken(token, special=True) for token in special.values() if token in vocabulary]
    tokenizer.add_special_tokens(known)
    return tokenizer


def way_out(source: str) -> str:
    """Describe how to write the tokenizer.json that a folder or a hub repository lacks."""
    folder = "FOLDER" if "'" in source else source
    return (
        f'write it by python -c "from transformers import AutoTokenizer; '
        f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')\""
    )


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{file} is not a JSON object")
    return settings


def _content(token: Any) -> str:
    """Return a special token, which may be stored as a string or as an object."""
    return str(token["content"] if isinstance(token, dict) else token)
