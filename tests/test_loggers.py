"""`--logger`: a run's numbers in TensorBoard and in experiment trackers, whose libraries are replaced by fakes."""

import json
import sys
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.runs.loggers import LOGGERS
from lm_gym.agents.train import main
from tests.runs import train, write_corpus

TRACKERS = [name for name, logger in LOGGERS.items() if hasattr(logger, "package")]


class Library(ModuleType):
    """A fake of a tracker's library that records its calls."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.calls: list[tuple[str, tuple, dict]] = []
        self.id = "abc"
        self.info = SimpleNamespace(run_id="abc")

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments, **named):
            self.calls.append((name, arguments, named))
            return self

        return call

    def sent(self) -> list[tuple[int, dict]]:
        """Return the steps and numbers of each log."""
        return [
            (named["step"], arguments[0]) for name, arguments, named in self.calls if name in ("log", "log_metrics")
        ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "people")


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_gets_every_number_and_a_resumed_run_continues_it(name, data, tmp_path, monkeypatch):
    library = Library(name)
    monkeypatch.setitem(sys.modules, name, library)
    run = train(data, tmp_path / "run", f"--logger=tensorboard,{name}", "--budget.passes=1")
    rows = read_metrics(run / "metrics.jsonl")
    assert [step for step, _ in library.sent()] == [row["timesteps"] for row in rows]
    assert [{"timesteps": step, **numbers} for step, numbers in library.sent()] == rows
    assert list((run / "tensorboard").iterdir())
    assert library.calls[-1][0] in ("finish", "end_run")
    library.calls.clear()
    main(["--resume", str(run), "--budget.passes=2"])
    begun = [call for call in library.calls if call[0] in ("init", "start_run")]
    assert len(begun) == 1
    named = begun[0][2]
    assert named.get("resume") == "allow" or named["run_id"] == "abc"
    if name == "wandb":
        assert named["id"] == "abc"
    assert [call for call in library.calls if call[0] == "log_params"] == []


def test_without_tensorboard(data, tmp_path):
    run = train(data, tmp_path / "run", "--logger=none", "--budget.passes=0.5")
    assert not (run / "tensorboard").exists()
    assert read_metrics(run / "metrics.jsonl")


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("tensorboard,wandbb", "unknown logger 'wandbb' (did you mean 'wandb'?): there are mlflow, tensorboard"),
        ("", "unknown logger ''"),
        *((name, f"--logger {name} needs the package {name}: pip install 'lm-gym[{name}]'") for name in TRACKERS),
    ],
)
def test_what_is_missing_is_said_before_a_folder_exists(logger, message, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lm_gym.agents.runs.loggers.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        train(data, tmp_path / "run", f"--logger={logger}")
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_a_tracker_refuses_is_one_line(data, tmp_path, monkeypatch, capsys):
    library = Library("wandb")

    def refuse(**_):
        raise RuntimeError("no API key\nconfigured")

    library.init = refuse
    monkeypatch.setitem(sys.modules, "wandb", library)
    with pytest.raises(SystemExit, match="2"):
        train(data, tmp_path / "run", "--logger=wandb")
    assert capsys.readouterr().err.endswith("--logger wandb: no API key configured\n")


def test_each_tracker_has_an_extra():
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for name in TRACKERS:
        assert LOGGERS[name].package == name
        assert extras[name][0].startswith(name)


@pytest.mark.parametrize("name", ["mlflow"])
def test_a_real_library(name, data, tmp_path, monkeypatch):
    library = pytest.importorskip(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = train(data, tmp_path / "run", f"--logger={name}", "--budget.passes=1")
    id_ = json.loads((run / "loggers.json").read_text())[name]
    last = read_metrics(run / "metrics.jsonl")[-1]
    assert library.get_run(id_).data.metrics["eval/entity_f1"] == pytest.approx(last["eval/entity_f1"])
