"""Runs that stop before their budget is spent, because the metric no longer improves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.ppo import PPO
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.runs.command_line import parse_settings as parse
from lm_gym.agents.runs.run_state import RunState
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.agents.train import main
from tests.runs import curve, report, write_corpus

ALGORITHMS = {  # options, and the method whose n-th call ends the process
    "reinforce": (("--agent.samples=4",), REINFORCE, "_update"),
    "es": (("--agent.optimizer_kwargs={popsize: 4}",), BlackBox, "_train_batch"),
    "ppo": (("--agent.n_steps=10", "--env.group_size=4"), PPO, "train"),
}
PER_PASS = 4 * 48  # timesteps: samples, members or rows of each word


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


def train(algo: str, data: Path, run_dir: Path, patience: int) -> Path:
    options, _, _ = ALGORITHMS[algo]
    given = {"algo": algo, "env.dataset": data, "env.num_envs": 4, "evaluation.num_envs": 4, "budget.passes": 12}
    given |= {"evaluation.every_passes": 0.5, "checkpoint.every_passes": 0.5, "log_interval": 2, "device": "cpu"}
    given |= {"budget.patience": patience, "run_dir": run_dir}
    main([*(f"--{key}={value}" for key, value in given.items()), *options])
    return run_dir


def values_of(run_dir: Path) -> list[float]:
    return [row["eval/entity_f1"] for row in curve(run_dir) if "eval/entity_f1" in row]


def values_stop(values: list[float], patience: int) -> bool:
    """Return whether none of the last `patience` values is better than all earlier ones."""
    return len(values) > patience and max(values[-patience:]) <= max(values[:-patience])


class Killed(BaseException):
    """The end of a process, at a moment that a test chooses."""


def killed_at(kind: type[Any], name: str, call: int, patched: pytest.MonkeyPatch) -> None:
    inner: Callable[..., Any] = getattr(kind, name)
    calls = 0

    def method(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > call:
            raise Killed
        return inner(self, *arguments, **more)

    patched.setattr(kind, name, method)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_run_stops_after_its_patience_and_resumes_bit_for_bit(
    algo: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    early = train(algo, data, tmp_path / "early", 2)
    values, found = values_of(early), report(early)
    assert values_stop(values, 2)
    assert not any(values_stop(values[:count], 2) for count in range(len(values)))
    assert found["timesteps"] < 12 * PER_PASS
    assert found["stopped_early"] == f"2 evaluations without a better entity_f1 on validation than {max(values):.4f}"
    assert (
        f"Training stopped early, at pass {found['timesteps'] / PER_PASS:.2f}: 2 evaluations"
        in (early / "report.md").read_text()
    )
    capsys.readouterr()
    main(["--resume", str(early)])
    said = capsys.readouterr().out
    assert "it stopped early, after 2 evaluations" in said
    assert f"--resume {early} --budget.patience N" in said
    _, kind, name = ALGORITHMS[algo]
    with monkeypatch.context() as patched:
        killed_at(kind, name, 5, patched)
        with pytest.raises(Killed):
            train(algo, data, tmp_path / "killed", 2)
    main(["--resume", str(tmp_path / "killed")])
    assert curve(tmp_path / "killed") == curve(early)
    assert report(tmp_path / "killed") == found
    weights = [(tmp_path / run / "best/model.safetensors").read_bytes() for run in ("killed", "early")]
    assert weights[0] == weights[1]


def test_more_patience_continues_a_run_as_if_it_had_had_it(data: Path, tmp_path: Path) -> None:
    longer = train("reinforce", data, tmp_path / "longer", 3)
    run = train("reinforce", data, tmp_path / "run", 2)
    main(["--resume", str(run), "--budget.patience=3"])
    assert values_of(run) == values_of(longer)
    assert report(run) == report(longer)


def test_a_run_killed_before_its_report_writes_it_and_trains_no_more(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("lm_gym.agents.runs.training.finish", lambda _: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train("ppo", data, tmp_path / "run", 2)
    before = curve(tmp_path / "run")
    main(["--resume", str(tmp_path / "run")])
    assert curve(tmp_path / "run") == before
    assert json.loads((tmp_path / "run/report.json").read_text())["stopped_early"].startswith("2 evaluations")


def test_patience_counts_from_the_best_value_also_if_the_last_model_is_kept() -> None:
    for keep in ("best", "last"):
        state = RunState("cross_entropy", keep)
        kept = [state.record(value, 10 * number) for number, value in enumerate((2.0, 1.0, 1.5, 1.0))]
        assert kept == ([True] * 4 if keep == "last" else [True, True, False, False])
        assert (state.top, state.waited, state.first, state.last) == (1.0, 2, 2.0, 1.0)
        assert state.stopped_early(3) is None
        assert state.stopped_early(None) is None
        assert state.stopped_early(2) == "2 evaluations without a better cross_entropy on validation than 1.0000"


@pytest.mark.parametrize("value", ["0", "-1", "1.5"])
def test_patience_is_a_positive_integer(value: str) -> None:
    with pytest.raises(SettingsError, match=r"budget\.patience"):
        parse([f"--budget.patience={value}"])
