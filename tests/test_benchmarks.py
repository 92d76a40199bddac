"""Benchmarks that need a GPU run in a small form without one."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_gpu_benchmark_runs_on_a_cpu():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "benchmarks/gpu.py", "--smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=env)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and line[2].isalpha()]
    updates = [row.split(" | ")[:2] for row in rows[1:5]]
    assert updates == [[f"| {name}", kind] for name in ("Supervised", "REINFORCE") for kind in ("float32", "bfloat16")]
    assert [row.split(" | ")[:2] for row in rows[6:]] == [["| tiny model", "4"], ["| tiny model", "8"]]


def test_the_page_of_defaults_keeps_the_rows_of_runs_that_are_missing(tmp_path):
    page = tmp_path / "defaults.md"
    page.write_text((ROOT / "docs" / "results" / "defaults.md").read_text(encoding="utf-8"), encoding="utf-8")
    options = ["--models", "tiny", "minilm", "--texts", "wikitext-2", "--seconds", "30", "--only", "none"]
    command = [sys.executable, "benchmarks/defaults.py", *options, "--out", str(tmp_path / "runs"), "--page", str(page)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert page.read_bytes() == (ROOT / "docs" / "results" / "defaults.md").read_bytes()
