"""Settings that version 0.1 wrote into config.yaml and that are no longer there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

EMPTY = {"env.mask_probability"}  # was written for every environment, null if it had none


def is_obsolete(key: str, value: Any, known: Collection[str]) -> bool:
    """Whether a setting is one of version 0.1 that said nothing, and is unknown today."""
    return key in EMPTY and value is None and key not in known


def upgrade(content: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The content of a config.yaml without its obsolete settings.

    Args:
        content: of the file.
        known: today's settings, by dotted key.
    """
    return {
        section: {key: value for key, value in values.items() if not is_obsolete(f"{section}.{key}", value, known)}
        if isinstance(values, dict)
        else values
        for section, values in content.items()
    }
