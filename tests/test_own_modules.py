"""Optimizers, search spaces and algorithms in a user's module: the files and commands of the guides."""

import json
import os
import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lm_gym.agents.runs.curve import read_metrics
from tests.runs import PEOPLE, PLACES, write_corpus
from tests.studies import write_study

ROOT = Path(__file__).parents[1]
PAGES = ("own_optimizer", "own_search_space", "own_task")
TINY = ("--env.num_envs=4", "--evaluation.num_envs=4", "--budget.passes=1", "--device=cpu", "--threads=1")


def page(name: str) -> tuple[str, str, list[list[str]]]:
    """Return the file name of the module of a page, its code, and the options of the page's commands."""
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    file = re.search(r"`(\w+\.py)`, in the folder that you run from", " ".join(text.split()))
    assert file is not None
    commands = [shlex.split(line) for line in re.findall(r"^python -m agents\.(.*)$", text, re.M)]
    return file[1], code, commands


TOGETHER = """
import io, json, runpy, sys
from contextlib import redirect_stderr
outcomes = []
for program, *options in json.loads(sys.argv[1]):
    sys.argv = [program, *options]
    code, errors = 0, io.StringIO()
    try:
        with redirect_stderr(errors):
            runpy.run_module("lm_gym.agents." + program, run_name="__main__")
    except SystemExit as end:
        code = end.code
    outcomes.append([code or 0, errors.getvalue()])
with open("outcomes.json", "w") as file:
    json.dump(outcomes, file)
"""


def python(code: str, folder: Path, *arguments: str) -> str:
    """Run a program in a folder, in a new process, and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def outcomes(commands: list[list[str]], folder: Path) -> list[tuple[int, str]]:
    """Run commands in a folder, in one process because imports are slow; return their statuses and messages."""
    python(TOGETHER, folder, json.dumps(commands))
    return [(status, messages) for status, messages in json.loads((folder / "outcomes.json").read_text())]


def run(commands: list[list[str]], folder: Path) -> None:
    """Run the commands of a page in a folder; all must succeed."""
    for command, (status, messages) in zip(commands, outcomes(commands, folder), strict=True):
        assert status == 0, f"{command}: {messages}"


def write_prose(folder: Path) -> Path:
    """Write tagged sentences, twelve different ones per split."""
    folder.mkdir(parents=True)
    for i, split in enumerate(("train", "dev", "test")):
        pairs = [*product(PEOPLE, PLACES)][i::3]
        texts = [f"In {b} , {a} asked : who comes?" if j % 2 else f"{a} went to {b}." for j, (a, b) in enumerate(pairs)]
        (folder / f"{split}.txt").write_text("\n".join(texts), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=PAGES)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Follow a page in a folder, with a small corpus and a small budget."""
    folder = tmp_path_factory.mktemp(request.param)
    data = write_prose(folder / "prose") if request.param == "own_task" else write_corpus(folder / "people")
    file, code, commands = page(request.param)
    (folder / file).write_text(code, encoding="utf-8")
    assert len(code.splitlines()) <= (80 if request.param == "own_task" else 50)
    small: list[list[str]] = []
    for command in commands:
        new = command[0] == "train" and "--resume" not in command
        resumed = "--resume" in command
        more = [f"--env.dataset={data}", *TINY] if new else []
        longer = ["--budget.passes=2"] if resumed else []  # the number on the page is for a larger budget
        small.append([*command, *more, *longer])
    first_of_rest = next(i for i, command in enumerate(small) if command[0] != "train" or "--resume" in command)
    run(small[:first_of_rest], folder)
    run(small[first_of_rest:], folder)  # in another process, which has to import the module again
    return folder


def test_runs_train_resume_and_are_evaluated(done: Path) -> None:
    runs = sorted((done / "runs").iterdir())
    assert runs
    for folder in runs:
        assert (folder / "report.json").is_file()
    assert any(list(folder.glob("evaluation-*-test.json")) for folder in runs)
    resumed = [folder for folder in runs if "--resume" in (folder / "command.txt").read_text()]
    assert len(resumed) == 1
    longer = json.loads((resumed[0] / "report.json").read_text())["timesteps"]
    assert longer == read_metrics(resumed[0] / "metrics.jsonl")[-1]["timesteps"]


def test_names_are_their_own_and_checkpoints_name_no_module(done: Path) -> None:
    for folder in (done / "runs").iterdir():
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        shown = json.loads((folder / "report.json").read_text())["algo"]
        assert shown == settings["algo"].rpartition(":")[2]
        assert f"# {shown} on" in (folder / "report.md").read_text()
        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content.decode(errors="ignore")
        assert "algo" in hparams
        assert "cem:" not in hparams
        assert "norms:" not in hparams
        archive = next(folder.glob("checkpoints/*/model.zip")).read_bytes()
        for module in (b"cem:", b"norms:", b"punctuation", b"lm_gym.agents", b"agents."):
            assert module not in archive


def test_a_run_without_run_dir_has_a_folder_of_its_own_name(tmp_path: Path) -> None:
    file, code, _ = page("own_optimizer")
    (tmp_path / file).write_text(code, encoding="utf-8")
    data = write_corpus(tmp_path / "people")
    run([["train", "--algo=cem:HeadCEM", f"--env.dataset={data}", *TINY]], tmp_path)
    (folder,) = (tmp_path / "runs/NER-v0/HeadCEM").iterdir()
    assert (folder / "report.json").is_file()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    file, code, _ = page("own_optimizer")
    (tmp_path / file).write_text(code, encoding="utf-8")
    data = write_corpus(tmp_path / "people")
    refused = {
        "no module 'nowhere'": ["--algo=nowhere:MyES"],
        "neither defines nor registers 'Other'": ["--algo=cem:Other"],
        "give a subclass of TextAlgorithm": ["--algo=cem:CEM"],
        "give a subclass of Optimizer": ["--algo=es", "--agent.optimizer=cem:HeadCEM"],
        "give a subclass of SearchSpace": ["--algo=es", "--agent.search_space=cem:CEM"],
        "did you mean 'elites'": ["--algo=es", "--agent.optimizer=cem:CEM", "--agent.optimizer_kwargs={elite: 3}"],
    }
    commands = [["train", f"--env.dataset={data}", *options, *TINY] for options in refused.values()]
    for message, (status, messages) in zip(refused, outcomes(commands, tmp_path), strict=True):
        assert status == 2
        assert message in messages
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def punctuation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the page's task and some prose."""
    folder = tmp_path_factory.mktemp("own_task")
    file, code, _ = page("own_task")
    (folder / file).write_text(code, encoding="utf-8")
    write_prose(folder / "prose")
    return folder


def test_a_task_of_a_users_module_is_compared(punctuation: Path) -> None:
    common = {"env.id": "punctuation:Punctuation-v0", "env.dataset": str(punctuation / "prose"), "env.num_envs": 4}
    study = {
        "title": "Marks",
        "metric": "accuracy",
        "shown": ["full_stops"],
        "budget": {"passes": 1},
        "common": common,
        "rows": {"twin": {"settings": {"algo": "supervised"}}, "es": {"settings": {"algo": "es"}}},
    }
    (punctuation / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    run([["compare", "study.yaml", "--seeds", "1"]], punctuation)
    report = (punctuation / "runs/compare/study/report.md").read_text()
    assert "full stops prec." in report
    assert "| majority |" in report
    again = ["compare", "study.yaml", "--seeds", "1", "--report-only"]
    run([again], punctuation)
    assert (punctuation / "runs/compare/study/report.md").read_text() == report


def test_the_environment_of_a_users_task_keeps_the_contract(punctuation: Path) -> None:
    code = (
        "import gymnasium; from lm_gym.testing import check_text_env\n"
        "for unit in ('token', 'sequence'):\n"
        "    make = dict(id='punctuation:Punctuation-v0', dataset='prose', unit=unit)\n"
        "    check_text_env(gymnasium.make_vec(**make, num_envs=4))\n"
        "    check_text_env(gymnasium.make(**make))\n"
        "print(gymnasium.make(**make).unwrapped.__doc__)"
    )
    shown = python(code, punctuation)
    assert "`lowercase=True`: also lowercase the words" in shown
    assert '"f1"' not in shown  # these tags are not IOB2


def test_a_study_compares_them(tmp_path: Path) -> None:
    file, code, _ = page("own_optimizer")
    (tmp_path / file).write_text(code, encoding="utf-8")
    rows = {"twin": {"settings": {"algo": "supervised"}}, "mine": {"settings": {"algo": "cem:HeadCEM"}}}
    study = write_study(tmp_path / "study.yaml", rows)
    data = write_corpus(tmp_path / "people")
    run([["compare", str(study), "--out", "out", "--seeds=1", f"--dataset={data}", "--jobs=1"]], tmp_path)
    found = json.loads((tmp_path / "out/mine-0/report.json").read_text())
    assert found["algo"] == "HeadCEM"
    assert "mine" in (tmp_path / "out/report.md").read_text()
