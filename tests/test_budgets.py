"""Budgets of forward-pass equivalents and seconds, and evaluations spread over them."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lm_gym.agents.runs.clock import Clock
from lm_gym.agents.runs.settings import ENDLESS, BudgetSettings, equivalents
from lm_gym.agents.train import main
from tests.runs import curve, write_corpus


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


def report(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "report.json").read_text())
    return found


def test_a_backward_pass_counts_as_two_forward_passes() -> None:
    assert equivalents(10, 4) == 18
    budget = BudgetSettings(passes=None, equivalents=90)
    assert budget.total(48, 12, 12) == 120  # 36 equivalents a pass
    assert budget.total(48, 90, 0) == 48
    assert BudgetSettings(passes=None, seconds=1.5).total(48, 12, 12) == ENDLESS


@pytest.mark.parametrize(
    ("options", "least", "most", "evaluations"),
    [
        (("--algo=supervised",), 108, 108, 4),
        (("--algo=reinforce", "--agent.kl_coef=0.1"), 112, 112, 4),  # 48 a pass: 7 updates of 4 texts, 16 each
        (("--algo=es", "--agent.optimizer_kwargs={popsize: 4}"), 112, 112, 4),
        # cut texts count by their average; two rollouts spend the budget
        (("--algo=ppo", "--agent.n_steps=10", "--env.group_size=4"), 85, 130, 3),
    ],
)
def test_equivalents_are_what_is_spent(
    options: tuple[str, ...], least: int, most: int, evaluations: int, data: Path, tmp_path: Path
) -> None:
    given = {"env.dataset": data, "env.num_envs": 4, "evaluation.num_envs": 4, "budget.equivalents": 108}
    given |= {"evaluation.times": 3, "device": "cpu", "log_interval": 1, "run_dir": tmp_path / "run"}
    main([*options, *(f"--{key}={value}" for key, value in given.items())])
    found = report(tmp_path / "run")
    assert least <= equivalents(found["forward_passes"], found["backward_passes"]) <= most
    assert sum("eval/entity_f1" in row for row in curve(tmp_path / "run")) == evaluations  # including the first


def test_seconds_end_a_run_and_a_resumed_run_goes_on_from_those_it_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count()  # a clock that advances when it is read, as on any machine
    monkeypatch.setattr(Clock, "now", staticmethod(lambda: 0.002 * next(ticks)))
    run_dir = tmp_path / "run"
    given = {"env.dataset": data, "env.num_envs": 4, "evaluation.num_envs": 4, "budget.seconds": 0.4}
    given |= {"evaluation.times": 2, "device": "cpu", "log_interval": 1, "run_dir": run_dir}
    main([f"--{key}={value}" for key, value in given.items()])
    first, rows = report(run_dir), curve(run_dir)
    assert 0.4 <= first["seconds"] < 0.45
    rates = [row["train/learning_rate"] for row in rows if "train/learning_rate" in row]
    assert rates[-1] < 0.2 * max(rates)  # the schedule follows the clock until the end
    assert rows[-1]["timesteps"] == first["timesteps"]
    assert sum("eval/entity_f1" in row for row in rows) == 3
    main(["--resume", str(run_dir)])
    assert report(run_dir) == first
    main(["--resume", str(run_dir), "--budget.seconds=0.8"])
    second = report(run_dir)
    assert 0.8 <= second["seconds"] < 0.85
    assert second["timesteps"] > first["timesteps"]
