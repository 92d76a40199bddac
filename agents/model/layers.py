"""The transformer layers of a Hugging Face model."""

from __future__ import annotations

from typing import Any

from torch import nn


def encoder_layers(network: Any) -> list[nn.Module]:
    """Return the transformer layers of a Hugging Face model, in the order in which they run.

    Raises:
        ValueError: the model has no list of layers, or more than one; the message names the model's class.
    """
    layers = find_layers(network)
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no single list of its {network.config.num_hidden_layers} layers: use a "
            "search space that needs none, such as full, head or lora"
        )
    return layers


def find_layers(network: Any) -> list[nn.Module]:
    """Return the same layers as `encoder_layers`, or an empty list if there are none.

    The layers are the only list of the encoder with as many blocks as the configuration says, all of one class and
    each with submodules. Architectures that apply a layer several times, or have an encoder and a decoder, have none.
    """
    found = [
        list(module)
        for module in network.base_model.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == network.config.num_hidden_layers
        and len({type(block) for block in module}) == 1
        and all(any(block.children()) and not isinstance(block, nn.ModuleList) for block in module)
    ]
    return found[0] if len(found) == 1 else []
