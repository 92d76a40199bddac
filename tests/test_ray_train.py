"""A run on Ray workers that is killed and resumed without them ends like a run in one process."""

import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from lm_gym.agents.train import main
from tests.runs import curve, options, write_corpus

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")]
ROOT = Path(__file__).parents[1]
SEARCH = (
    "--algo=snes", "--agent.optimizer_kwargs={popsize: 8}", "--agent.max_rows=8", "--checkpoint.every_passes=0.5",
    "--log_interval=1", "--threads=1",
)  # fmt: skip
GRADIENT = ("--checkpoint.every_passes=0.5", "--log_interval=1", "--threads=1", "--policy.dropout=0")


def without_workers(run_dir):
    return [{key: value for key, value in row.items() if not key.startswith("ray/")} for row in curve(run_dir)]


def begin_kill_and_resume(given, folder, kind="workers"):
    """Train with two workers, kill the process at the first checkpoint, and resume without workers."""
    command = [sys.executable, "-m", "agents.train", *given, f"--ray.{kind}=2"]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        deadline = time.monotonic() + 300
        while not list((folder / "checkpoints").glob("[0-9]*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    main([f"--resume={folder}", f"--ray.{kind}=null"])


def test_a_driver_that_is_killed_is_resumed(tmp_path, monkeypatch):
    data = write_corpus(tmp_path / "people")
    monkeypatch.chdir(ROOT)

    def given(run_dir):
        return [option for option in options(data, run_dir, *SEARCH) if not option.startswith("--agent.samples")]

    main(given(tmp_path / "whole"))
    begin_kill_and_resume(given(tmp_path / "killed"), tmp_path / "killed")
    assert without_workers(tmp_path / "killed") == without_workers(tmp_path / "whole")
    best, whole = (tmp_path / name / "best" / "model.safetensors" for name in ("killed", "whole"))
    assert best.read_bytes() == whole.read_bytes()


def test_a_run_that_shares_its_batches_is_resumed_without_workers(tmp_path, monkeypatch):
    data = write_corpus(tmp_path / "people")
    monkeypatch.chdir(ROOT)
    main(options(data, tmp_path / "whole", *GRADIENT))
    begin_kill_and_resume(options(data, tmp_path / "killed", *GRADIENT), tmp_path / "killed")
    ours, theirs = (without_workers(tmp_path / name) for name in ("killed", "whole"))
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    assert ours == [pytest.approx(row, rel=1e-3, abs=1e-4) for row in theirs]
    assert any("ray/bytes" in row for row in curve(tmp_path / "killed"))


def test_a_run_whose_rollouts_workers_draw_is_resumed_without_them(tmp_path, monkeypatch):
    data = write_corpus(tmp_path / "people")
    monkeypatch.chdir(ROOT)
    given = (*GRADIENT[:-1], "--agent.lag=2", "--agent.max_ratio=1.5")
    main(options(data, tmp_path / "whole", *given))
    begin_kill_and_resume(options(data, tmp_path / "killed", *given), tmp_path / "killed", "rollout_workers")
    assert without_workers(tmp_path / "killed") == without_workers(tmp_path / "whole")
    assert any("ray/bytes_up" in row for row in curve(tmp_path / "killed"))
