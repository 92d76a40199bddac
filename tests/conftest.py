"""Fixtures that several test files share."""

import pytest

from tests.small import few_names


@pytest.fixture(scope="module")
def ner(request):
    """Builtin named entities: `NER_TEXTS` texts of each split if the test file defines it, and 96 otherwise."""
    return few_names(getattr(request.module, "NER_TEXTS", 96))


@pytest.fixture(scope="module")
def names():
    """Builtin named entities: 32 texts of each split."""
    return few_names(32)
