"""A killed run continues as if it had never stopped."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lm_gym.agents.files import settle_folder, write_folder
from lm_gym.agents.runs.curve import cut_curve, read_metrics
from lm_gym.agents.runs.loggers import LoggedRun, open_logger
from lm_gym.agents.runs.run_folder import RunFolder, RunFolderError
from lm_gym.agents.train import main
from tests.runs import curve, options, report, train, write_corpus

EVERY = ("--checkpoint.every_passes=0.5", "--evaluation.every_passes=0.5")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that is never stopped."""
    return train(data, tmp_path_factory.mktemp("runs") / "whole", *EVERY)


def scalars(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Return all points in the event files in the order of writing, with nothing purged."""
    found = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
        if tag not in ("time/fps", "budget/seconds", "budget/peak_memory_bytes")
    }


def same(one: Path, other: Path) -> None:
    assert curve(one) == curve(other)
    assert scalars(one) == scalars(other)
    assert report(one) == report(other)
    assert (one / "predictions.conll").read_text() == (other / "predictions.conll").read_text()
    assert (one / "best/model.safetensors").read_bytes() == (other / "best/model.safetensors").read_bytes()


class Killed(BaseException):
    """The end of a process, at a moment that a test chooses."""


def stop_at(update: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process after the agent's n-th update."""
    from lm_gym.agents.algorithms.reinforce import REINFORCE

    inner = REINFORCE._update

    def _update(self: REINFORCE, *arguments: object) -> object:
        if self._n_updates == update:
            raise Killed
        return inner(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(REINFORCE, "_update", _update)


@pytest.mark.parametrize("update", [0, 1, 5, 8])
def test_stopped_run_goes_on_to_the_same_curve(
    update: int, whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stop_at(update, patched)
        with pytest.raises(Killed):
            train(data, tmp_path / "run", *EVERY)
    main(["--resume", str(tmp_path / "run")])
    same(tmp_path / "run", whole)
    assert (tmp_path / "run/command.txt").read_text().count("lm-gym train") == 2


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_the_printed_command_goes_on(
    asked: signal.Signals,
    whole: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The kill comes in an update without a log and a checkpoint."""
    from lm_gym.agents.algorithms.reinforce import REINFORCE

    inner = REINFORCE._update

    def _update(self: REINFORCE, *arguments: object) -> object:
        if self._n_updates == 6:
            os.kill(os.getpid(), asked)
        return inner(self, *arguments)  # type: ignore[arg-type]

    run_dir = tmp_path / "a run [bold]"
    with monkeypatch.context() as patched:
        patched.setattr(REINFORCE, "_update", _update)
        with pytest.raises(SystemExit) as ended:
            train(data, run_dir, "--checkpoint.every_passes=9", "--evaluation.every_passes=0.5")
    assert ended.value.code == 128 + asked
    (command,) = [line for line in capsys.readouterr().out.splitlines() if "--resume" in line]
    checkpoint = RunFolder(run_dir).last_checkpoint()
    assert checkpoint is not None
    assert "train/loss" in checkpoint.state["pending"]
    main(shlex.split(command)[shlex.split(command).index("--resume") :])
    same(run_dir, whole)


def test_killed_process_goes_on_to_the_same_curve(whole: Path, data: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "lm_gym.agents.train", *options(data, run_dir, *EVERY)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parent.parent)
    rows, deadline = random.Random(0).randrange(1, 5), time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        metrics = run_dir / "metrics.jsonl"
        if metrics.is_file() and metrics.read_bytes().count(b"\n") >= rows:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    main(["--resume", str(run_dir)])
    same(run_dir, whole)


def test_event_files_of_one_second_are_read_in_order(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        logger = open_logger(LoggedRun(tmp_path, "run", {}))
        logger.record("x", 1.0)
        logger.dump(len(names))
        logger.close()
        new = {path.name for path in (tmp_path / "tensorboard").iterdir()} - set(names)
        names += sorted(new)
    seconds = [int(name.split(".")[3]) for name in names]
    assert len(set(seconds)) == len(names) == 3
    assert seconds == sorted(seconds)


def test_finished_run_says_so_and_stays(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (whole / "metrics.jsonl").read_bytes()
    main(["--resume", str(whole)])
    assert "is finished" in " ".join(capsys.readouterr().out.split())
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_a_larger_budget_goes_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steady = (*EVERY, "--agent.schedule=constant", "--agent.warmup=0")  # a schedule would depend on the budget
    whole = train(data, tmp_path / "whole", *steady, "--budget.passes=2")
    short = train(data, tmp_path / "short", *steady, "--budget.passes=1")
    main(["--resume", str(short), "--budget.passes=2"])
    same(short, whole)
    assert (short / "config.yaml").read_text() == (whole / "config.yaml").read_text()
    assert "follows the new budget" not in capsys.readouterr().out


def test_a_larger_budget_with_a_schedule_says_what_it_is_not(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = train(data, tmp_path / "short", "--budget.passes=0.5")
    main(["--resume", str(short), "--budget.passes=1"])
    assert "follows the new budget" in " ".join(capsys.readouterr().out.split())


def test_other_settings_are_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--resume", str(whole), "--agent.samples=8"])
    assert "agent.samples is 4, not 8" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage: str, whole: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    last = RunFolder(whole).last_checkpoint()
    assert last is not None
    archive = last.model.read_bytes()
    for timesteps in (1, 2):
        folder.save_checkpoint(timesteps, lambda path: path.write_bytes(archive) and None, {"metric": "entity_f1"})
    newest = tmp_path / "checkpoints/000000000002/model.zip"
    if damage == "cut":
        newest.write_bytes(archive[: len(archive) // 2])
    else:
        newest.unlink()
    with pytest.warns(UserWarning, match=r"falling back to the checkpoint .*0001: .*0002: model.zip "):
        found = folder.last_checkpoint()
    assert found is not None
    assert found.timesteps == 1
    (tmp_path / "checkpoints/000000000001/state.json").write_text("{")
    with pytest.raises(RunFolderError, match="no checkpoint is intact"):
        folder.last_checkpoint()


@pytest.mark.parametrize("replacing", [False, True])
def test_write_folder_is_whole_after_a_kill_at_any_system_call(
    replacing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(text: str) -> Callable[[Path], None]:
        return lambda folder: (folder / "file").write_text(text) and None

    ended = False
    for moment in range(100):
        target = tmp_path / f"{moment}" / "best"
        target.parent.mkdir()
        if replacing:
            write_folder(target, write("old"))
        with monkeypatch.context() as patched:
            calls = iter(range(moment))

            def count(inner: Callable[..., object], calls: object = calls) -> Callable[..., object]:
                def counted(*arguments: object, **named: object) -> object:
                    if next(calls, None) is None:  # type: ignore[call-overload]
                        raise Killed
                    return inner(*arguments, **named)

                return counted

            for owner, name in (
                ("pathlib.Path", "rename"),
                ("os", "fsync"),
                ("shutil", "rmtree"),
                ("pathlib.Path", "mkdir"),
            ):
                module = __import__(owner.split(".")[0])
                holder = getattr(module, "Path", module)
                patched.setattr(f"{owner}.{name}", count(getattr(holder, name)))
            try:
                write_folder(target, write("new"))
                ended = True
            except Killed:
                ended = False
        settle_folder(target)
        found = (target / "file").read_text() if target.exists() else None
        assert found in (("old", "new") if replacing else (None, "new"))
        assert [path.name for path in target.parent.iterdir()] == ([] if found is None else ["best"])
        if ended:
            assert found == "new"
            return
    pytest.fail("write_folder never came to its end")


def test_cut_curve_drops_what_is_later_and_what_is_half_written(tmp_path: Path) -> None:
    metrics, tensorboard = tmp_path / "metrics.jsonl", tmp_path / "tensorboard"
    logger = open_logger(LoggedRun(tmp_path, "run", {}))
    for step in (0, 10, 20):
        logger.record("x", float(step))
        logger.record("text", f"step {step}")
        logger.dump(step)
    logger.close()
    with metrics.open("a") as file:
        file.write('{"timesteps": 3')
    (events,) = tensorboard.iterdir()
    events.write_bytes(events.read_bytes()[:-5])
    cut_curve(metrics, tensorboard, 10)
    assert read_metrics(metrics) == [{"timesteps": 0, "x": 0.0}, {"timesteps": 10, "x": 10.0}]
    assert scalars(tmp_path) == {"x": [(0, 0.0), (10, 10.0)]}
    cut_curve(metrics, tensorboard, -1)
    assert read_metrics(metrics) == []
    assert scalars(tmp_path) == {}


def test_a_folder_in_use_is_refused(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = RunFolder.open(whole)
    holder.lock()
    with pytest.raises(SystemExit, match="2"):
        main(["--resume", str(whole)])
    assert "another process is writing to" in capsys.readouterr().err
    holder.unlock()


def test_resume_needs_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        main(["--resume", str(tmp_path)])
    assert "no config.yaml" in capsys.readouterr().err
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == '["notes.txt"]'
