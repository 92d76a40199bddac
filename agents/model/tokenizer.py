"""The tokenizer beside a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from lm_gym.agents.model.loading import model_path


def load_tokenizer(model: str) -> Any:
    """The transformers tokenizer that lies beside `model` (see model_path)."""
    return AutoTokenizer.from_pretrained(model_path(model))


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
