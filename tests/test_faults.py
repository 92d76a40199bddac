"""The short form of `make test-faults`: some twenty kills of two runs and a comparison, the same to the bit."""

import random

import pytest

from tests.faults import try_run, try_study
from tests.runs import write_corpus

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("algo", "env_id"), [("snes", "lm_gym/NER-v0"), ("reinforce", "lm_gym/TextClassification-v0")])
def test_a_run_killed_seven_times(algo, env_id, tmp_path):
    data = write_corpus(tmp_path / "data" / "people")
    assert try_run(algo, env_id, data, tmp_path / "runs", 7, random.Random(5)) > 2


def test_a_comparison_killed_six_times(tmp_path):
    data = write_corpus(tmp_path / "data" / "people")
    assert try_study(data, tmp_path / "study", 6, random.Random(5)) > 2
