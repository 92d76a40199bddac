"""Runs of PPO by `python -m agents.train`, killed and resumed."""

from pathlib import Path

import pytest

from lm_gym.agents.evaluate import main as evaluate_command
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.runs.run_folder import RunFolder
from lm_gym.agents.train import main
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from tests.runs import curve, options, report, train, write_corpus

EVERY = ("--checkpoint.every_passes=0.5", "--evaluation.every_passes=0.5", "--log_interval=1")
SHORT = ("--agent.n_steps=4", "--agent.batch_size=32", "--env.group_size=3")


def ppo_options(data, run_dir):
    return [
        arg for arg in options(data, run_dir, "--algo=ppo", *SHORT, *EVERY) if not arg.startswith("--agent.samples")
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    main(ppo_options(data, run_dir))
    return run_dir


def test_a_run_by_the_command(whole):
    rows = read_metrics(whole / "metrics.jsonl")
    assert {"eval/entity_f1", "train/approx_kl", "reward/accuracy", "budget/forward_passes"} <= set().union(*rows)
    assert [row["timesteps"] for row in rows if "eval/entity_f1" in row][-1] == rows[-1]["timesteps"]
    assert RunFolder(whole).last_checkpoint().timesteps == rows[-1]["timesteps"]
    assert report(whole)["algo"] == "ppo"


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_best_model_of_a_run_is_evaluated_by_the_command(split, whole, capsys):
    evaluate_command([str(whole), "--split", split])
    assert f"{split}: 12 texts" in capsys.readouterr().out


class Killed(BaseException):
    """The end of a process."""


@pytest.mark.parametrize("step", [0, 5, 16, 30])
def test_a_stopped_run_goes_on_to_the_same_curve(step, whole, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        inner, steps = VecEnvAdapter.step_wait, iter(range(10**6))

        def step_wait(self):
            if next(steps) == step:
                raise Killed
            return inner(self)

        patched.setattr(VecEnvAdapter, "step_wait", step_wait)
        with pytest.raises(Killed):
            main(ppo_options(data, tmp_path / "run"))
    main(["--resume", str(tmp_path / "run")])
    assert curve(tmp_path / "run") == curve(whole)
    assert report(tmp_path / "run") == report(whole)
    best = Path("best/model.safetensors")
    assert (tmp_path / "run" / best).read_bytes() == (whole / best).read_bytes()


def test_group_size_of_the_settings(data, tmp_path):
    run_dir = train(data, tmp_path / "run", "--env.group_size=2", "--budget.passes=0.5")
    assert parse_settings(["--config", str(run_dir / "config.yaml")]).env.group_size == 2
    assert report(run_dir)["forward_passes"] > 0
