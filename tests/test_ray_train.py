"""A run on Ray workers that is killed and resumed, without workers, ends as a run in one process."""

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


def given(data, run_dir, *more):
    return [option for option in options(data, run_dir, *SEARCH, *more) if not option.startswith("--agent.samples")]


def without_workers(run_dir):
    return [{key: value for key, value in row.items() if not key.startswith("ray/")} for row in curve(run_dir)]


def test_a_driver_that_is_killed_is_resumed(tmp_path, monkeypatch):
    data = write_corpus(tmp_path / "people")
    monkeypatch.chdir(ROOT)
    main(given(data, tmp_path / "whole"))
    command = [sys.executable, "-m", "agents.train", *given(data, tmp_path / "killed", "--ray.workers=2")]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "killed" / "checkpoints").glob("[0-9]*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    main([f"--resume={tmp_path / 'killed'}", "--ray.workers=null"])
    assert without_workers(tmp_path / "killed") == without_workers(tmp_path / "whole")
    best, whole = (tmp_path / name / "best" / "model.safetensors" for name in ("killed", "whole"))
    assert best.read_bytes() == whole.read_bytes()
