"""Settings in the config.yaml of version 0.1 that no longer exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EMPTY = {"env.mask_probability"}  # written for every environment, null if unused


def is_obsolete(key: str, value: Any) -> bool:
    """Tell whether a setting is an unused one of version 0.1."""
    return key in EMPTY and value is None


def upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the obsolete settings from the content of a config.yaml."""
    return {
        section: {key: value for key, value in values.items() if not is_obsolete(f"{section}.{key}", value)}
        if isinstance(values, dict)
        else values
        for section, values in content.items()
    }
