"""Settings that version 0.1 wrote into config.yaml and that are no longer there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EMPTY = {"env.mask_probability"}  # was written for every environment, null if it had none


def is_obsolete(key: str, value: Any) -> bool:
    """Whether a setting is one of version 0.1 that said nothing."""
    return key in EMPTY and value is None


def upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a config.yaml without its obsolete settings."""
    return {
        section: {key: value for key, value in values.items() if not is_obsolete(f"{section}.{key}", value)}
        if isinstance(values, dict)
        else values
        for section, values in content.items()
    }
