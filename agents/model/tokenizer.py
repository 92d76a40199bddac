"""The tokenizer beside a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from lm_gym.agents.model.loading import model_path
from lm_gym.tokenizer import load_tokenizer as load_text_tokenizer


def load_tokenizer(model: str) -> Any:
    """The transformers tokenizer that lies beside `model` (see model_path)."""
    return AutoTokenizer.from_pretrained(model_path(model))


def save_tokenizer(model: str, folder: str | Path) -> None:
    """Writes that tokenizer into a folder, so that it cuts words joined by blanks as an environment cuts them.

    An environment reads each word as one behind a space, the first one too (`add_prefix_space` of byte-level ones).
    """
    tokenizer = load_tokenizer(model)
    words = load_text_tokenizer(tokenizer.backend_tokenizer).tokenizer
    if words.pre_tokenizer is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = words.pre_tokenizer
    if "add_prefix_space" in tokenizer.init_kwargs:  # classes of byte-level tokenizers build theirs from the argument
        tokenizer.add_prefix_space = True
    tokenizer.save_pretrained(folder)


def check_tokenizer(model: str, vocabulary: Mapping[str, int], name: str) -> None:
    """Refuses a model whose own tokenizer numbers tokens differently; without one beside it nothing is known.

    Args:
        model: see model_path.
        vocabulary: token to id, as the environment numbers them.
        name: what the environment's tokenizer is called.

    Raises:
        ValueError: naming a token on which they differ.
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
