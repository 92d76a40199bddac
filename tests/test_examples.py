"""Every example trains: it exits with 0 only if its policy clearly beats the baselines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.libraries import MODULES, needs

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "tagging")
RUNS = [(name, *more) for name in EXAMPLES for more in ([("ppo",), ("reinforce",)] if name == "plain_loop" else [()])]


@pytest.mark.parametrize(
    "run", [pytest.param(run, id=" ".join(run), marks=needs(run[0].partition("_")[0])) for run in RUNS]
)
def test_it_trains(run, record_property, tmp_path):
    name, *arguments = run
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rewards = dict(re.findall(r"(trained|random|all O) (\d+\.\d+)", done.stdout))
    for row, reward in rewards.items():
        record_property(row, reward)
    if name not in ("tickets", "reviews", "replies", "recommendation"):  # these compare costs and check themselves
        assert float(rewards["trained"]) > 2 * max(float(rewards["random"]), float(rewards["all O"])) > 0


def test_there_is_an_example_for_each_library():
    assert set(MODULES) <= {name.partition("_")[0] for name in EXAMPLES}
    assert {"plain_loop", "sb3_ppo", "sb3_maskable_ppo"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_a_page(name):
    assert len((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 90
