"""Runs of version 0.1 can be evaluated, and resumed with the results that 0.1 would have reached."""

import base64
import json
import os
import pickle
import zipfile
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import pytest
import yaml

from lm_gym.agents.algorithms import legacy
from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.evaluate import main as evaluate
from lm_gym.agents.runs import legacy as old_settings
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.agents.train import main as train
from tests.runs import curve, report

RUNS = Path(__file__).parent / "old_runs"
EXPECTED: dict[str, Any] = json.loads((RUNS / "expected.json").read_text(encoding="utf-8"))
CLOSE = {"rel": 1e-4, "abs": 1e-5}  # other processors round differently


def put(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy a run and its model to a folder, and make it the current one."""
    copytree(RUNS / name, folder / name)
    copytree(RUNS / "model", folder / "model")
    if (folder / name / "best").is_dir():
        copy(RUNS / "model/tokenizer.json", folder / name / "best")
    monkeypatch.chdir(folder)


def evaluated(name: str) -> dict[str, float]:
    evaluate([name, "--split=validation"])
    (file,) = Path(name).glob("evaluation-*.json")
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))["metrics"]
    return found


def test_there_is_a_run_of_each_kind() -> None:
    assert set(EXPECTED) == {path.name for path in RUNS.iterdir() if (path / "config.yaml").is_file()}
    assert set(EXPECTED) == {"reinforce", "ppo", "cma_es", "low_rank_es"}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_run_is_resumed_and_evaluated(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(name, tmp_path, monkeypatch)
    train(["--resume", name])
    expected = EXPECTED[name]
    found = curve(Path(name))
    assert len(found) == len(expected["curve"])
    for row, wanted in zip(found, expected["curve"], strict=True):
        for later in ("time/total_timesteps", "train/dead_positions"):  # logged since then
            row.pop(later, None)
        assert row == pytest.approx(wanted, **CLOSE)
    reached = report(Path(name))
    for part in ("metrics", "baselines"):
        for split, numbers in expected["report"][part].items():
            assert reached[part][split] == pytest.approx(numbers, **CLOSE)  # type: ignore[index]
    assert {key: reached[key] for key in expected["counts"]} == expected["counts"]
    assert evaluated(name) == pytest.approx(expected["evaluated"], **CLOSE)


def test_a_run_that_is_not_finished_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("reinforce", tmp_path, monkeypatch)
    assert evaluated("reinforce") == pytest.approx(EXPECTED["reinforce"]["evaluated_before"], **CLOSE)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_old_agent_saved_again_is_a_new_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(name, tmp_path, monkeypatch)
    algorithm = find_algorithm(yaml.safe_load(Path(name, "config.yaml").read_text())["algo"])
    (archive,) = Path(name).glob("checkpoints/*/model.zip")
    old = algorithm.load(archive, device="cpu")
    old.save("again.zip")
    with zipfile.ZipFile("again.zip") as content:
        assert set(content.namelist()) == {"agent.json", "tensors.safetensors", "system_info.txt"}
    again = algorithm.load("again.zip", device="cpu")
    assert vars(again).keys() == vars(old).keys()
    assert str(again.get_parameters()) == str(old.get_parameters())


class Command:
    """Stand in for a function that a malicious file would call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("called",)


def test_nothing_else_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("reinforce", tmp_path, monkeypatch)
    (archive,) = Path("reinforce").glob("checkpoints/*/model.zip")
    with zipfile.ZipFile(archive) as content:
        files = {name: content.read(name) for name in content.namelist()}
    data = json.loads(files[legacy.AGENT])
    data["ep_info_buffer"] = {":serialized:": base64.b64encode(pickle.dumps(Command())).decode()}
    files[legacy.AGENT] = json.dumps(data).encode()
    with zipfile.ZipFile("bad.zip", "w") as changed:
        for name, part in files.items():
            changed.writestr(name, part)
    kind = find_algorithm("reinforce")
    with pytest.raises(pickle.UnpicklingError, match=r"ep_info_buffer: posix\.mkdir may not be read"):
        kind.load("bad.zip", device="cpu")
    given = {"ep_info_buffer": None}
    assert kind.load("bad.zip", device="cpu", custom_objects=given).num_timesteps == 83920
    assert not Path("called").exists()


def test_empty_settings_of_old_files_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_settings, "EMPTY", {"env.gone"})
    file = tmp_path / "config.yaml"
    file.write_text("algo: es\nenv: {num_envs: 3, gone: null}\nbudget: {passes: 2.0, timesteps: null}\n")
    found = parse_settings(["--config", str(file), "--budget.timesteps=9"])
    assert (found.algo, found.env.num_envs, found.budget.timesteps, found.budget.passes) == ("es", 3, 9, None)
    for content in ("env: {gone: 1}", "env: {other: null}"):
        file.write_text(content)
        with pytest.raises(SettingsError, match="no setting 'env"):
            parse_settings([f"--config={file}"])
