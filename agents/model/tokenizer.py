"""The tokenizer of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from lm_gym.agents.model.loading import model_path
from lm_gym.tokenizer import load_tokenizer as load_text_tokenizer


def load_tokenizer(model: str) -> Any:
    """Return the transformers tokenizer of `model` (see model_path)."""
    return AutoTokenizer.from_pretrained(model_path(model))


def save_tokenizer(model: str, folder: str | Path) -> None:
    """Write the tokenizer to a folder, so that it splits words joined by spaces as the environment does.

    An environment encodes every word, including the first, as if it follows a space (`add_prefix_space` of byte-level
    tokenizers).
    """
    tokenizer = load_tokenizer(model)
    words = load_text_tokenizer(tokenizer.backend_tokenizer).tokenizer
    if words.pre_tokenizer is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = words.pre_tokenizer
    if "add_prefix_space" in tokenizer.init_kwargs:  # byte-level classes rebuild the pre-tokenizer from it
        tokenizer.add_prefix_space = True
    tokenizer.save_pretrained(folder)


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
