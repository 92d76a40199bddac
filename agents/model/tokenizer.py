"""The tokenizer of a model."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from lm_gym.agents.model.loading import model_path
from lm_gym.hub import hub_or_cache
from lm_gym.tokenizer import TextTokenizer
from lm_gym.tokenizer import load_tokenizer as load_text_tokenizer

_PROBE = ("Anna", "Lind's", "well-known", "(old)", "house", ",", "3.5", "km", "off", "Oslo", ".")


def load_tokenizer(model: str) -> Any:
    """Return the transformers tokenizer of `model` (see model_path)."""
    with hub_or_cache(model_path(model)):
        return AutoTokenizer.from_pretrained(model_path(model))


def save_tokenizer(model: str, folder: str | Path) -> None:
    """Write the tokenizer to a folder, so that it splits words joined by spaces as the environment does.

    An environment encodes every word, including the first, as if it followed a space (`lm_gym.word_boundaries`).
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in _files(model).items():
        Path(folder, name).write_bytes(content)


@lru_cache(8)
def _files(model: str) -> dict[str, bytes]:
    """Return the contents, by name, of the files of a tokenizer for `model` that encodes words independently."""
    tokenizer, own = load_tokenizer(model), Path(model_path(model), "tokenizer.json")
    words = load_text_tokenizer(own if own.is_file() else tokenizer.backend_tokenizer)
    if words.tokenizer.pre_tokenizer is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = words.tokenizer.pre_tokenizer
    if words.tokenizer.normalizer is not None:
        tokenizer.backend_tokenizer.normalizer = words.tokenizer.normalizer
    if (
        "add_prefix_space" in tokenizer.init_kwargs
    ):  # byte-level tokenizers rebuild the pre-tokenizer from this argument
        tokenizer.add_prefix_space = True
    with TemporaryDirectory() as written:
        folder = Path(written)
        tokenizer.save_pretrained(folder)
        names = [path.name for path in folder.iterdir()]
        if Path(model_path(model), "config.json").is_file():
            shutil.copy(Path(model_path(model), "config.json"), folder)  # which may name a class of tokenizers
        if not _reads_like(AutoTokenizer.from_pretrained(folder), words):
            words.tokenizer.save(str(folder / "tokenizer.json"))
            _forget_class(folder / "tokenizer_config.json")
            if not _reads_like(AutoTokenizer.from_pretrained(folder), words):
                warnings.warn(
                    f"transformers reads the tokenizer saved for model {model!r} differently from training: a "
                    "pipeline will see other sub-tokens than `evaluate`",
                    stacklevel=3,
                )
        return {name: (folder / name).read_bytes() for name in names}


def _reads_like(saved: Any, words: TextTokenizer) -> bool:
    """Return whether a saved tokenizer splits a text in the same way as `words` splits its words."""
    ours = [*words.prefix, *words.encode_text(_PROBE), *words.suffix]
    return bool(saved(" ".join(_PROBE))["input_ids"] == ours)


def _forget_class(file: Path) -> None:
    """Let transformers read tokenizer.json unchanged, instead of with a class that rebuilds some of its parts."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.pop("add_prefix_space", None)
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def tokenizer_size(model: str) -> int | None:
    """Return the number of entries of the tokenizer next to `model`, or None if there is none."""
    try:
        tokenizer = load_tokenizer(model)
    except (OSError, ValueError):
        return None
    return load_text_tokenizer(tokenizer.backend_tokenizer).size


def check_tokenizer(model: str, vocabulary: Mapping[str, int], name: str) -> None:
    """Raise ValueError if the model's tokenizer numbers tokens differently; a model without a tokenizer passes.

    Args:
        model: see model_path.
        vocabulary: token to id in the environment.
        name: name of the environment's tokenizer.

    Raises:
        ValueError: the tokenizers differ; the message names a token.
    """
    file = Path(model_path(model)) / "tokenizer.json"
    if not file.is_file():
        return
    own = Tokenizer.from_file(str(file)).get_vocab()
    if own != vocabulary:
        token = min(t for t in own.keys() | vocabulary.keys() if own.get(t) != vocabulary.get(t))
        raise ValueError(
            f"the environment's tokenizer {name} is not that of model {model!r}: token {token!r} is "
            f"{vocabulary.get(token)} and {own.get(token)}; make the environment with tokenizer={model!r}"
        )
