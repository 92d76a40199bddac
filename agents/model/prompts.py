"""Prompts as parts of a model: virtual tokens added to every text, saved with the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch as th
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.utils.hub import cached_file

from lm_gym.agents.model.layers import encoder_layers
from lm_gym.hub import hub_or_cache
from lm_gym.naming import check_choice

Place = Literal["after_first", "front", "behind"]
_FILE = "prompt.safetensors"


class Prompt(nn.Module):
    """A prompt of k tokens, as embeddings or as token ids.

    Args:
        values: [k, H] embeddings or int64 [k] token ids; [p, k, …] for separate prompts of p blocks of texts.
        place: `"after_first"`: after the first token of the text ([CLS]); `"front"`; or `"behind"` the text, for causal
            models: decisions move from the text's last token to the prompt's last token.
        unit: natural step of the embeddings when the prompt was created.
        deep: [layers - 1, k, H], added to the prompt's hidden states at the input of every layer but the first;
            [p, layers - 1, k, H] for separate prompts. None: nothing is added.
    """

    values: th.Tensor
    deep: th.Tensor | None

    def __init__(self, values: th.Tensor, place: Place, unit: float = 1.0, deep: th.Tensor | None = None) -> None:
        super().__init__()
        check_choice("place", place, get_args(Place))
        self.place: Place = place
        self.unit = unit
        self.soft = values.is_floating_point()
        self.register_buffer("values", values)
        self.register_buffer("deep", deep)

    def __len__(self) -> int:
        return self.values.shape[-2 if self.soft else -1]

    @property
    def description(self) -> dict[str, Any]:
        """Description of the prompt for a model's configuration."""
        width = self.values.shape[-1] if self.soft else 0
        described = {"tokens": len(self), "width": width, "place": self.place, "unit": self.unit}
        return described if self.deep is None else described | {"layers": self.deep.shape[-3] + 1}

    def forward(
        self, network: Any, input_ids: th.Tensor, attention_mask: th.Tensor, rows: th.Tensor, columns: th.Tensor
    ) -> tuple[dict[str, th.Tensor], th.Tensor]:
        """Return the encoder's arguments for texts [B, L] with the prompt, and the shifted `columns` of `rows`."""
        text = network.get_input_embeddings()(input_ids) if self.soft else input_ids  # [B, L(, H)]
        values = self.values if self.values.dim() > text.dim() - 1 else self.values[None]  # [p, k(, H)]
        prompt = values.repeat_interleave(len(text) // len(values), 0).to(text.dtype)  # [B, k(, H)]
        ends = (
            attention_mask.sum(1, keepdim=True)
            if self.place == "behind"
            else attention_mask.new_full((len(text), 1), self.before)
        )  # [B, 1], tokens of each text before the prompt
        places = th.arange(text.shape[1] + len(self), device=text.device)
        after = places >= ends + len(self)
        source = th.where(places < ends, places, th.where(after, places - len(self), text.shape[1] + places - ends))
        whole, each = th.cat([text, prompt], 1), th.arange(len(text), device=text.device)[:, None]
        mask = th.cat([attention_mask, attention_mask.new_ones(len(prompt), len(self))], 1)
        arguments = {
            "inputs_embeds" if self.soft else "input_ids": whole[each, source],
            "attention_mask": mask[each, source],
        }
        moved = columns >= ends[rows, 0] - int(self.place == "behind")
        return arguments, th.where(moved, columns + len(self), columns)

    @property
    def before(self) -> int:
        """Return the number of tokens of the text before the prompt."""
        return 1 if self.place == "after_first" else 0

    @contextmanager
    def inside(self, network: Any) -> Iterator[None]:
        """Add `deep` to the prompt's hidden states in every forward pass of the `with` block."""
        hooks = []
        if self.deep is not None:
            by_layer = self.deep.unbind(-3)  # [(p,) k, H] each
            for layer, added in zip(encoder_layers(network)[1:], by_layer, strict=True):
                hooks.append(layer.register_forward_pre_hook(partial(self._add, added), with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _add(
        self, added: th.Tensor, layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Replace the hidden states [B, L, H] of a layer, its first argument."""
        hidden = (arguments[0] if arguments else named["hidden_states"]).clone()
        blocks = added if added.dim() == 3 else added[None]  # [p, k, H]
        columns = slice(self.before, self.before + len(self))
        hidden[:, columns] += blocks.repeat_interleave(len(hidden) // len(blocks), 0).to(hidden.dtype)
        return ((hidden, *arguments[1:]), named) if arguments else ((), named | {"hidden_states": hidden})


def save_prompt(prompt: Prompt, folder: str | Path) -> None:
    """Write prompt.safetensors to a checkpoint's folder."""
    tensors = {"values": prompt.values} if prompt.deep is None else {"values": prompt.values, "deep": prompt.deep}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, Path(folder) / _FILE)


def load_prompt(config: Any, source: str | None) -> Prompt | None:
    """Return the prompt described by a model's configuration, if any.

    Args:
        config: the model's configuration.
        source: folder or hub id of its checkpoint; None to fill the prompt with zeros.

    Raises:
        FileNotFoundError: the checkpoint lacks prompt.safetensors.
    """
    description = getattr(config, "prompt", None)
    if description is None:
        return None
    tokens, width = description["tokens"], description["width"]
    if source is None:
        file = {"values": th.zeros(tokens, width) if width else th.zeros(tokens, dtype=th.int64)}
        if "layers" in description:
            file["deep"] = th.zeros(description["layers"] - 1, tokens, width)
    else:
        try:
            with hub_or_cache(source):
                path = cached_file(source, _FILE)
        except OSError as error:
            raise FileNotFoundError(
                f"the configuration of {source!r} names a prompt of {tokens} tokens, but {_FILE} is missing: restore it"
            ) from error
        assert path is not None
        file = load_file(path)
    return Prompt(file["values"], description["place"], description["unit"], file.get("deep"))


def install(policy: Any, prompt: Prompt | None) -> None:
    """Add a prompt to an LMPolicy, or remove it.

    Raises:
        ValueError: texts and prompt together are too long for the model, or nothing would read a prompt behind the
            text.
    """
    if prompt is not None:
        if prompt.place == "behind":
            _check_behind(policy)
        policy.check_length(len(prompt))
    policy.language_model.prompt = prompt
    if prompt is None:
        policy.network.config.__dict__.pop("prompt", None)
    else:
        policy.network.config.prompt = prompt.description


def default_place(network: nn.Module) -> Place:
    """Return the default place: the front for a causal model, after the first token ([CLS]) for others."""
    return "front" if _is_causal(network) else "after_first"


def _is_causal(network: nn.Module) -> bool:
    return any(getattr(module, "is_causal", False) for module in network.modules())


def _check_behind(policy: Any) -> None:
    positions = policy.observation_space["positions"].shape[0]
    if not _is_causal(policy.network):
        raise ValueError(
            f"place='behind' needs a causal model, but {type(policy.network).__name__} reads in both directions: use "
            "'after_first' or 'front'"
        )
    if positions != 1:
        raise ValueError(
            f"place='behind' supports one position per text, at its last token, but this task decides up to "
            f"{positions}: use 'front', or a task with one position per text"
        )
