"""The RL libraries that tests are marked for, each in its own environment, because their pins conflict."""

from importlib.util import find_spec

import pytest

MODULES = {"tianshou": "tianshou", "torchrl": "torchrl", "rllib": "ray", "skrl": "skrl"}  # by marker and extra
TELLING = {**MODULES, "rllib": "tree"}  # a package that only the extra installs: Ray alone has no dm-tree


def needs(library: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test that needs one of these libraries; none if every environment has it."""
    if library not in MODULES:
        return []
    absent = find_spec(TELLING[library]) is None
    return [
        getattr(pytest.mark, library),
        pytest.mark.skipif(absent, reason=f"needs the extra {library} (make test-integrations)"),
    ]
