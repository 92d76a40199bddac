"""The short form of `make test-faults` in `make check`: one algorithm on every task, about twenty kills."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_runs_killed_again_and_again_end_as_if_they_had_not_been():
    command = [sys.executable, "-m", "tests.faults", "--only", "supervised", "--kills", "4"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"^(\d+) kills$", done.stdout, re.M)[0]) >= 12
