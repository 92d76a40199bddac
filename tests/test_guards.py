"""Every failure ends in one line that names the cause and the remedy, and no saved work is lost."""

import errno
import io
import json
import math
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th

import lm_gym
from lm_gym.agents.algorithms.ppo import PPO
from lm_gym.agents.algorithms.presets import SNES
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.evaluation.predictions import samples_table
from lm_gym.agents.files import CHECKSUMS, find_damage, write_folder, write_json, write_text
from lm_gym.agents.model.adamw import GroupedAdamW
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.runs.loggers import LoggedRun, open_logger
from lm_gym.agents.runs.run_folder import RunFolder, RunFolderError, check_new
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.agents.train import main
from lm_gym.registry import UserCodeError
from lm_gym.rendering import printable, render_text
from lm_gym.tasks import DecidedText, Metric
from tests.runs import train, write_corpus

WITHOUT_CUDA = pytest.mark.skipif(th.cuda.is_available(), reason="this machine has CUDA")
HOSTILE = "\x1b]0;title\x07\x1b[2J[bold]<b>|`:smile:"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people [bold]")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("runs") / "a [red]run", "--budget.passes=1")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy of [run]"))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that is refused, and return its only line of error."""
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert len(said) == 1
    return said[0]


# ------------------------------------------------------------------------------------------------------------- files


def test_json_is_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, [None, 1.5]], "b": {"c": None}}
    logger = open_logger(LoggedRun(tmp_path, "run", {}))
    logger.record("loss", np.float32("nan"))
    logger.record("score", 0.5)
    logger.dump(3)
    logger.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"timesteps": 3, "loss": None, "score": 0.5}
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(row["loss"])
    assert row["score"] == 0.5


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder is a folder: give a file"):
        write_text(tmp_path / "folder", "text")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "half a \ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_every_flipped_bit_of_a_folder_is_noticed(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_bytes(bytes(range(16)))
        (folder / "state.json").write_text('{"a": 1.25}')

    write_folder(tmp_path / "folder", write)
    assert find_damage(tmp_path / "folder") is None
    for file in (path for path in (tmp_path / "folder").rglob("*") if path.is_file()):
        whole = file.read_bytes()
        for bit in range(0, 8 * len(whole), 5):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            file.write_bytes(damaged)
            assert find_damage(tmp_path / "folder"), (file, bit)
        file.write_bytes(whole)
    (tmp_path / "folder" / "state.json").unlink()
    assert find_damage(tmp_path / "folder") == "state.json is missing"


@pytest.mark.parametrize("name", ["model.zip", "state.json"])
def test_a_damaged_file_of_a_checkpoint_is_named(name: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (newest,) = sorted((copy / "checkpoints").iterdir())[-1:]
    file = newest / name
    file.write_bytes(file.read_bytes()[:-2] + b"??")
    for other in set((copy / "checkpoints").iterdir()) - {newest}:
        shutil.rmtree(other)
    assert f"{name} has changed since it was written" in refused(["--resume", str(copy)], capsys)


def test_a_damaged_best_model_is_refused_when_it_is_loaded(finished: Path, tmp_path: Path) -> None:
    best = Path(shutil.copytree(finished / "best", tmp_path / "best"))
    env = lm_gym.NERVectorEnv(2, dataset="builtin/ner", unit="sequence")
    spaces = env.single_observation_space, env.single_action_space
    weights = best / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"model.safetensors has changed since it was written.*delete checksums.json"):
        LMPolicy(*spaces, lambda _: 0.0, model=str(best))
    (best / CHECKSUMS).unlink()
    with pytest.warns(UserWarning, match="labels"):
        LMPolicy(*spaces, lambda _: 0.0, model=str(best), labels=env.task.choice_names)


# --------------------------------------------------------------------------------------------------------------- runs


def test_a_folder_that_was_left_before_its_run_began_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = lm_gym.load_dataset("builtin/ner")

    class Killed(BaseException):
        pass

    for moment in range(30):
        path = tmp_path / f"{moment}"
        with monkeypatch.context() as patched:
            left, sync = iter(range(moment)), os.fsync

            def dies(descriptor: int, left: Any = left, sync: Any = sync) -> None:
                if next(left, None) is None:
                    raise Killed
                sync(descriptor)

            patched.setattr(os, "fsync", dies)
            try:
                RunFolder.create(path, "algo: es\n", "command", dataset).unlock()
                ended = True
            except Killed:
                ended = False
        if not (path / "config.yaml").is_file():
            with pytest.raises(RunFolderError, match="start it again"):
                RunFolder.open(path)
            RunFolder.create(path, "algo: es\n", "command", dataset).unlock()
        assert RunFolder.open(path).config.read_text() == "algo: es\n"
        if ended:
            break
    assert ended
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty"):
        check_new(tmp_path / "mine")


def test_a_checkpoint_of_a_later_version_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = max((copy / "checkpoints").iterdir())
    (last / CHECKSUMS).unlink()
    write_json(last / "state.json", {**json.loads((last / "state.json").read_text()), "novelty": 1})
    said = refused(["--resume", str(copy), "--budget.passes=2"], capsys)
    assert f"{last} has novelty, which this version of lm-gym does not know" in said
    assert f"resume with the version in {copy / 'versions.json'}" in said


def test_data_that_has_changed_is_refused(data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = json.loads((copy / "data.json").read_text())
    (copy / "data.json").write_text(json.dumps({**kept, "fingerprint": "another"}))
    said = refused(["--resume", str(copy)], capsys)
    assert f"the data has changed since the run began: the fingerprint of {data.name} was another" in said


def test_a_damaged_curve_is_named_and_kept(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = copy / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join([lines[0], lines[1].replace(":", ";"), *lines[2:]]))
    before = metrics.read_bytes()
    said = refused(["--resume", str(copy), "--budget.passes=2"], capsys)
    assert f"{metrics}, line 2, is damaged" in said
    assert metrics.read_bytes() == before
    metrics.write_text("".join(lines))
    (events,) = (copy / "tensorboard").iterdir()
    content = events.read_bytes()
    events.write_bytes(content[:12] + b"\xff" * 8 + content[20:])
    assert "move it away" in refused(["--resume", str(copy), "--budget.passes=2"], capsys)
    assert metrics.read_text() == "".join(lines)


def test_a_damaged_report_is_written_again(finished: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "report.json").write_text('{"algo": ')
    main(["--resume", str(copy)])
    assert "it is written again" in capsys.readouterr().out
    one, other = (json.loads((folder / "report.json").read_text()) for folder in (finished, copy))
    assert one["metrics"] == other["metrics"]


def test_a_finished_run_names_its_budget_as_it_was_given(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--resume", str(copy)])
    said = capsys.readouterr().out
    assert "it has spent its budget of 1.0 passes" in said
    assert f"--resume '{copy}' --budget.passes N" in said


def test_a_full_disk_ends_in_one_line(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {path: path.read_bytes() for path in (copy / "checkpoints").rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr("lm_gym.agents.runs.callbacks.write_folder", lambda *_: full(0))
        said = refused(["--resume", str(copy), "--budget.passes=2", "--evaluation.keep=best"], capsys)
    assert "No space left on device" in said
    assert f"--resume '{copy}'" in said
    assert before == {path: path.read_bytes() for path in (copy / "checkpoints").rglob("*") if path.is_file()}


def test_lost_weights_end_in_one_line_with_the_last_good_checkpoint(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = GroupedAdamW.step

    def loses(self: GroupedAdamW, *arguments: Any) -> None:
        step(self, *arguments)
        with th.no_grad():
            self.param_groups[0]["params"][0].flatten()[0] = float("nan")

    monkeypatch.setattr(GroupedAdamW, "step", loses)
    said = refused(["--resume", str(copy), "--budget.passes=2"], capsys)
    assert "the weights are NaN after update" in said
    assert f"the last good checkpoint is {copy}/checkpoints/" in said


def test_a_lost_gradient_stops_before_it_reaches_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=2, unit="sequence")
    model = Supervised("LMPolicy", env, seed=0, device="cpu")
    weight = next(model.policy.network.parameters())
    weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(FloatingPointError, match="the gradient is nan at update 0"):
        model.learn(10)
    assert weight.isfinite().all()


@pytest.mark.parametrize(("algorithm", "unit"), [(REINFORCE, "sequence"), (PPO, "token")])
def test_probabilities_that_are_nan_stop_before_a_choice(algorithm: type[TextAlgorithm], unit: str) -> None:
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=2, unit=unit, autoreset_mode="SameStep")
    model = algorithm("LMPolicy", env, seed=0, device="cpu")
    with th.no_grad():
        for weight in model.policy.network.parameters():
            weight.mul_(1e25)  # finite, but not what the model makes of it
    with pytest.raises(FloatingPointError, match="the probabilities of choices are NaN: lower learning_rate"):
        model.learn(10)


def test_a_search_whose_members_all_fail_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=2, unit="sequence")
    model = SNES("LMPolicy", env, seed=0, device="cpu", optimizer_kwargs={"popsize": 4})
    monkeypatch.setattr(SNES, "_judge", lambda *_: th.full((4,), math.nan))
    with pytest.raises(FloatingPointError, match="every member of generation 0 failed"):
        model.learn(10**6)


def test_a_reward_that_fails_is_named() -> None:
    def raises(*_: Any) -> np.ndarray:
        return np.zeros(1 // 0)

    def is_nan(predictions: np.ndarray, *_: Any) -> np.ndarray:
        return np.full(len(predictions), np.nan)

    for function, message in ((raises, "reward raises failed: ZeroDivisionError"), (is_nan, "is_nan returned NaN")):
        env = lm_gym.NERVectorEnv(2, unit="sequence", reward=function)
        env.reset(seed=0)
        with pytest.raises(UserCodeError, match=message):
            env.step(np.zeros(env.action_space.shape, np.int64))


@WITHOUT_CUDA
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = tmp_path / "run"
    assert "torch finds no CUDA device" in refused(["--device=cuda", f"--run_dir={run_dir}"], capsys)
    assert not run_dir.exists()
    env = gymnasium.make_vec("lm_gym/NER-v0", unit="sequence")
    for device, message in (("cuda:1", "no CUDA device"), ("gpu", "is unknown")):
        with pytest.raises(ValueError, match=message):
            Supervised("LMPolicy", env, device=device)


# --------------------------------------------------------------------------------------------------- users' code


def test_a_metric_that_fails_is_named() -> None:
    played: Any = SimpleNamespace(task=SimpleNamespace(env_id="Mine-v0"))
    for of, message in ((lambda _: 1 / 0, "ZeroDivisionError: division by zero"), (lambda _: "much", "ValueError: ")):
        with pytest.raises(UserCodeError, match=f"^metric 'mine' of Mine-v0 failed: {message}.*, line "):
            Metric("mine", "mine", of).value(played)  # type: ignore[arg-type]
    assert Metric("mine", "mine", lambda _: math.nan).value(played) is None


def test_a_module_that_fails_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_on_import.py").write_text("value = {}['key']\n")
    (tmp_path / "lacks_a_module.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = refused(["--algo=breaks_on_import:Mine"], capsys)
    assert "module 'breaks_on_import' failed: KeyError: 'key'" in said
    assert "breaks_on_import.py, line 1)" in said
    assert "no_such_module_at_all" in refused(["--env.reward=lacks_a_module:mine"], capsys)


# --------------------------------------------------------------------------------------------------- terminal output


def test_control_characters_and_markup_are_text_everywhere() -> None:
    assert printable("a\tb\nc\x1b[1m\u202e\x9b") == "a\tb\nc\\x1b[1m\\u202e\\x9b"
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, width=400)
    terminal.say(HOSTILE)
    assert file.getvalue().strip() == "\\x1b]0;title\\x1b[2J[bold]<b>|`:smile:"  # rich drops bells
    dataset = lm_gym.Dataset.from_sentences("hostile", [([HOSTILE, "x"], ["B-`|<b>", "O"])] * 3, max_overlap=1)
    env = lm_gym.NERVectorEnv(1, dataset=dataset, unit="sequence")
    text = DecidedText(0, np.array([1, 2]), np.array([1, 0]), np.array([0, 1]))
    shown = render_text(env.task, text)
    assert "\x07" not in shown
    assert "\x1b]" not in shown
    assert "[2J" in shown

    class Played(list):  # type: ignore[type-arg]
        task = env.task

    table: Any = samples_table(Played([text]), 1)
    assert len(table.splitlines()) == 3
    assert "<b>" not in re.sub("`[^`]*`", "", table.replace("\\`", ""))  # code is not interpreted as markup
    assert "\x1b" not in table
    assert table.splitlines()[2].replace("\\|", "").count("|") == 2


def test_errors_and_paths_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in refused([f"--env.dataset=no{HOSTILE}"], capsys)
