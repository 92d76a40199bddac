"""The RL libraries that tests are marked for, each in its own environment, because their pins conflict."""

from importlib.util import find_spec

import pytest

MODULES = {"tianshou": "tianshou", "torchrl": "torchrl", "rllib": "ray", "skrl": "skrl"}  # by marker and extra
TELLING = {**MODULES, "rllib": "tree"}  # what only the extra brings: Ray alone has no dm-tree


def needs(library: str) -> list[pytest.MarkDecorator]:
    """The marks of a test that needs one of these; none for what every environment has."""
    if library not in MODULES:
        return []
    absent = find_spec(TELLING[library]) is None
    return [
        getattr(pytest.mark, library),
        pytest.mark.skipif(absent, reason=f"needs the extra {library} (make test-integrations)"),
    ]
