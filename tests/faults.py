"""Runs and studies that are killed repeatedly end as if they had never been killed: `make test-faults`.

Every algorithm trains on every task once undisturbed. Then the same run is killed with SIGKILL at random moments, half
of them by the clock and half at a file operation (while a checkpoint, a report or the best model is written), and
resumed until it ends. Weights, optimizer state and the lines of metrics.jsonl must equal those of the undisturbed run.
`compare` is killed likewise.

Processes are forked from this one, so that none of them imports libraries anew. Moments are drawn from --seed; the
clock is the machine's, so that another try kills elsewhere. With --record FILE, each count is noted when it is reached,
and the same command continues after it was stopped.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch as th
from jsonargparse import auto_cli

from lm_gym.agents import compare, train
from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.bounds import NonNegativeInt, PositiveInt, bounded
from lm_gym.data import Corpus
from lm_gym.data.fields import Field
from lm_gym.tasks import TASKS, Task, load_data
from tests.studies import write_study

OF_TIME = ("time/", "budget/seconds", "budget/peak_memory_bytes")
SPACE = {"search_space": "soft_prompt", "search_space_kwargs": {"tokens": 2, "dim": None}}  # small for any head
POPULATION = {"optimizer_kwargs": {"popsize": 8}}


def write_records(task: type[Task], folder: Path, texts: int = 12) -> Path:
    """Write the first texts of each split of a task's builtin data as JSON Lines."""
    folder.mkdir(parents=True)
    for split, corpus in load_data(task, "builtin").splits.items():
        with (folder / f"{split}.jsonl").open("w") as file:
            for i in range(texts):
                record = {field.name: value for field in task.fields if (value := _value(corpus, field, i)) is not None}
                file.write(json.dumps(record) + "\n")
    return folder


def _value(corpus: Corpus, field: Field, i: int) -> Any:
    """Return the value of a field of a text; None if the corpus does not have it."""
    if field.kind == "words":
        return corpus.text(i)
    if field.kind == "tags":
        return corpus.tags_of(i)
    if field.name not in corpus.columns:
        return None
    values: Any = corpus.columns[field.name].of(i)
    if field.kind in ("text", "texts"):
        values = [" ".join(words) for words in values]
    return values[0] if values and field.kind in ("text", "label") else values


def options(algo: str, env_id: str, data: Path) -> list[str]:
    """Return the options of a run of a dozen updates, with logs, evaluations and checkpoints between them."""
    kind = ALGORITHMS[algo]
    agent: dict[str, Any] = {**SPACE, **POPULATION} if issubclass(kind, BlackBox) else {}
    rows: int | str = "null"  # the usual number of samples of a text
    if algo == "ppo":
        agent, rows = {"n_steps": 8, "n_epochs": 2}, 2
    if algo == "reinforce":
        agent = {"samples": 4}
    given = {
        "algo": algo,
        "env.id": env_id,
        "env.dataset": data,
        "env.num_envs": 4,
        "env.group_size": rows,
        "evaluation.num_envs": 4,
        "evaluation.every_passes": 0.5,
        "checkpoint.every_passes": 0.5,
        "budget.passes": 3,
        "log_interval": 2,
        "device": "cpu",
        "threads": 1,
        **{f"agent.{k}": value if isinstance(value, str) else json.dumps(value) for k, value in agent.items()},
    }
    return [f"--{key}={value}" for key, value in given.items()]


@contextmanager
def forked(command: Callable[[list[str]], None], arguments: list[str], log: Path, dies_at: int | None) -> Iterator[int]:
    """Fork a process that runs a command and kills itself at the file operation `dies_at`; return its id."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if dies_at is not None:
            _die_at(dies_at)
        th.set_num_threads(1)  # renews torch's pool, which a fork breaks, before threads that load weights race for it
        status = 1
        try:
            command(arguments)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    yield child


def _die_at(count: int) -> None:
    """Kill this process at its n-th call of fsync, rename or rmtree."""
    left = iter(range(count))

    def counted(inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*arguments, **named)

        return call

    os.fsync, shutil.rmtree = counted(os.fsync), counted(shutil.rmtree)  # type: ignore[assignment]
    Path.rename = counted(Path.rename)  # type: ignore[method-assign]


def ended(child: int, after: float | None) -> int:
    """Wait for a process, kill it after the given number of seconds, and return its exit status."""
    deadline = None if after is None else time.monotonic() + after
    while deadline is None or time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def disturbed(
    command: Callable[[list[str]], None], begin: list[str], again: Callable[[], list[str]], kills: int, seconds: float,
    draw: random.Random, log: Path,
) -> int:  # fmt: skip
    """Run a command to its end with at most the given number of kills; return the number of kills."""
    killed = 0
    while True:
        by_clock = draw.random() < 0.5
        at = draw.randrange(60) if killed < kills and not by_clock else None
        after = draw.uniform(0.02, 0.6) * seconds if killed < kills and by_clock else None
        with forked(command, again() if killed else begin, log, at) as child:
            status = ended(child, after)
        if status == 0:
            return killed
        if status != -signal.SIGKILL:
            raise SystemExit(f"{begin}: ended with {status}:\n{log.read_text()[-2000:]}")
        killed += 1


def outcome(folder: Path) -> dict[str, Any]:
    """Return the contents of a run folder, without times and speeds."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (newest,) = sorted((folder / "checkpoints").glob("[0-9]*"))[-1:]
    with zipfile.ZipFile(newest / "model.zip") as archive:
        tensors = archive.read("tensors.safetensors")
    report = json.loads((folder / "report.json").read_text())
    return {
        "metrics.jsonl": [{key: row[key] for key in row if not key.startswith(OF_TIME)} for row in rows],
        "the last weights": tensors,
        "the best weights": (folder / "best" / "model.safetensors").read_bytes(),
        "report.json": {key: report[key] for key in report if key not in ("seconds", "peak_memory_bytes")},
        "checkpoint": newest.name,
    }


def differences(one: Path, other: Path) -> list[str]:
    """Return the differences between two runs."""
    a, b = outcome(one), outcome(other)
    return [name for name in a if a[name] != b[name]]


def try_run(algo: str, env_id: str, data: Path, folder: Path, kills: int, draw: random.Random) -> int:
    """Kill and resume one run and return the number of kills; exit if it differs from the undisturbed run."""
    given, whole, run_dir = options(algo, env_id, data), folder / "whole", folder / "run"
    folder.mkdir(parents=True)
    began = time.monotonic()
    with forked(train.main, [*given, f"--run_dir={whole}"], folder / "whole.log", None) as child:
        if ended(child, None) != 0:
            raise SystemExit(f"{algo} on {env_id} fails:\n{(folder / 'whole.log').read_text()[-2000:]}")
    begin = [*given, f"--run_dir={run_dir}"]

    def again() -> list[str]:
        return [f"--resume={run_dir}"] if (run_dir / "config.yaml").is_file() else begin

    killed = disturbed(train.main, begin, again, kills, time.monotonic() - began, draw, folder / "run.log")
    found = differences(whole, run_dir)
    if found:
        raise SystemExit(f"{algo} on {env_id}: {', '.join(found)} differ after {killed} kills, see {folder}")
    return killed


def try_study(data: Path, folder: Path, kills: int, draw: random.Random) -> int:
    """Kill and repeat one comparison; return the number of kills."""
    folder.mkdir(parents=True)
    rows = {
        name: {"settings": {"algo": name, "env.dataset": str(data), **more}}
        for name, more in {"supervised": {}, "reinforce": {"agent.samples": 4}}.items()
    }
    study = write_study(folder / "study.yaml", rows)
    whole, out = ([str(study), "--seeds=1", f"--out={folder / name}"] for name in ("whole", "out"))
    began = time.monotonic()
    with forked(compare.main, whole, folder / "whole.log", None) as child:
        if ended(child, None) != 0:
            raise SystemExit(f"compare fails:\n{(folder / 'whole.log').read_text()[-2000:]}")
    killed = disturbed(compare.main, out, lambda: out, kills, time.monotonic() - began, draw, folder / "out.log")
    for name in rows:
        found = differences(folder / "whole" / f"{name}-0", folder / "out" / f"{name}-0")
        if found:
            raise SystemExit(f"compare, {name}: {', '.join(found)} differ after {killed} kills, see {folder}")
    return killed


class Record:
    """The number of kills of each run so far, stored in a file if one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.is_file() else []
        self.kills: dict[str, int] = dict(json.loads(line) for line in lines)

    def add(self, name: str, kills: int) -> None:
        self.kills[name] = kills
        print(f"{name}: {kills} kills, the same to the bit", flush=True)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([name, kills]) + "\n")


@bounded
def main(kills: PositiveInt = 8, seed: NonNegativeInt = 0, only: str = "", record: Path | None = None) -> None:
    """Kill runs and studies, and compare their results with those of undisturbed ones.

    Args:
        kills: at most so many of each run, and of the study.
        seed: of the moments.
        only: algorithms whose names begin so, "compare" among them; by default all.
        record: a file of finished runs, which are not tried again.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # forked
    done = Record(record)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    data = {task.env_id: write_records(task, folder / "data" / task.name) for task in TASKS.values()}
    ner = data["lm_gym/NER-v0"]
    train.main([*options("supervised", "lm_gym/NER-v0", ner), f"--run_dir={folder / 'first'}"])  # imports everything
    for algo in (name for name in ALGORITHMS if name.startswith(only)):
        for task in TASKS.values():
            name = f"{algo} on {task.env_id}"
            if name not in done.kills:
                draw = random.Random(f"{seed} {name}")
                done.add(name, try_run(algo, task.env_id, data[task.env_id], folder / algo / task.name, kills, draw))
                shutil.rmtree(folder / algo / task.name)
    if "compare".startswith(only) and "compare" not in done.kills:
        done.add("compare", try_study(ner, folder / "compare", kills, random.Random(f"{seed} compare")))
    shutil.rmtree(folder)
    print(f"{sum(done.kills.values())} kills")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
