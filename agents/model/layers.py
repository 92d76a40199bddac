"""The transformer layers of a Hugging Face model."""

from __future__ import annotations

from typing import Any

from torch import nn


def encoder_layers(network: Any) -> list[nn.Module]:
    """The transformer layers of a Hugging Face model, in the order in which they run.

    Raises:
        ValueError: no list of layers, or more than one, naming the model's class.
    """
    layers = find_layers(network)
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no single list of its {network.config.num_hidden_layers} layers: take a "
            "search space that needs none, such as full, head or lora"
        )
    return layers


def find_layers(network: Any) -> list[nn.Module]:
    """The layers, as `encoder_layers` gives them; empty where that fails.

    They are the one list of the encoder that has as many blocks as the configuration says, all of one class and each
    made of modules. Architectures that apply a layer several times, or have an encoder and a decoder, have none.
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
