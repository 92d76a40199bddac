"""Freezing of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from torch import nn


def freeze_parameters(network: nn.Module, patterns: Sequence[str], *, all_of_them: bool = False) -> None:
    """Freeze parameters by glob patterns over their names, such as `"*embeddings*"` or `"*layer.0.*"`.

    Args:
        network: the model.
        patterns: glob patterns of the names.
        all_of_them: whether all parameters may be frozen, because something besides the model trains.

    Raises:
        ValueError: a pattern matches no parameter (the message lists some names), or no parameter is left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ValueError(
                f"freeze pattern {pattern!r} matches no parameter; examples of names: {names[0]!r}, {names[-1]!r}"
            )
    matched = matching(network, patterns)
    for name, parameter in network.named_parameters():
        if name in matched:
            parameter.requires_grad_(False)
    if not all_of_them and not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"freeze patterns {list(patterns)} leave nothing to train")


def matching(network: nn.Module, patterns: Sequence[str]) -> frozenset[str]:
    """Return the names of the parameters that match any of the patterns."""
    return frozenset(name for name, _ in network.named_parameters() if any(fnmatch(name, p) for p in patterns))
