"""An hour of mixed training, in which memory, open files and the time of a step must stay flat: `make soak`.

Agents of several algorithms and tasks take turns in one process, with logs, evaluations and checkpoints in run folders
that are resumed again and again, so that whatever a run leaves behind adds up. Each turn writes a line to --log:
resident memory, open files, threads, time per text, the size of the run folder and of a line of its curve. At
the end, the last quarter of the turns of each agent is compared with the quarter before; LIMITS are the growth that is
allowed.
The exit status is 1 if anything grows more.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from jsonargparse import auto_cli

from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.train import main as train
from lm_gym.bounds import PositiveFloat, bounded
from lm_gym.tasks import TASKS
from tests.faults import write_records

MIX = {
    "ner-reinforce": ("reinforce", "lm_gym/NER-v0", ["--agent.samples=4"]),
    "headlines-supervised": ("supervised", "lm_gym/TextClassification-v0", []),
    "masked-reinforce": ("reinforce", "lm_gym/MaskedLM-v0", []),
    "ner-ppo": ("ppo", "lm_gym/NER-v0", []),
    "ner-snes": ("snes", "lm_gym/NER-v0", ["--agent.optimizer_kwargs={popsize: 8}"]),
    "sudoku-reinforce": ("reinforce", "lm_gym/Unmasking-v0", []),
}
TEXTS = 48  # in each split; a turn is one pass
WARM_UP = 2  # turns of each agent that are skipped, because libraries are imported and caches fill
SETTINGS = [
    "--env.num_envs=8", "--evaluation.every_passes=1", "--log_interval=2", "--checkpoint.every_passes=1",
    "--device=cpu", "--threads=1",
]  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """The state of the process after a turn of an agent.

    Attributes:
        agent: its name in MIX.
        minutes: since the start.
        memory_mb: resident memory of this process, in 10⁶ bytes.
        files: open file handles.
        threads: running threads.
        step_ms: milliseconds per text of training.
        cpu_ms: processor time of the whole turn per text of training, which other programs on the machine affect less.
        folder_kb: size of the run folder without `metrics.jsonl` and TensorBoard's file, in 10³ bytes.
        curve_bytes: bytes of `metrics.jsonl` per line.
    """

    agent: str
    minutes: float
    memory_mb: float
    files: int
    threads: int
    step_ms: float
    cpu_ms: float
    folder_kb: float
    curve_bytes: float


@dataclass(frozen=True)
class Limit:
    """The growth allowed in a quarter of the time: a fraction of the median plus an amount."""

    fraction: float
    amount: float


LIMITS = {
    "memory_mb": Limit(0.01, 5.0),
    "files": Limit(0.0, 0.0),
    "threads": Limit(0.0, 0.0),
    "cpu_ms": Limit(0.25, 0.0),
    "folder_kb": Limit(0.01, 10.0),
    "curve_bytes": Limit(0.05, 0.0),
}


def take_turn(name: str, passes: int, folder: Path, began: float) -> Turn:
    """Train an agent up to `passes` passes in its folder, new or resumed, and measure this process."""
    algo, env_id, more = MIX[name]
    run_dir = folder / name
    if (run_dir / "config.yaml").is_file():
        given = [f"--resume={run_dir}"]
    else:
        data = folder / "data" / env_id.rpartition("/")[2]
        given = [
            f"--algo={algo}",
            f"--env.id={env_id}",
            f"--env.dataset={data}",
            f"--run_dir={run_dir}",
            *SETTINGS,
            *more,
        ]
    spent = time.process_time()
    train([*given, f"--budget.passes={passes}"])
    spent = time.process_time() - spent
    metrics = run_dir / "metrics.jsonl"
    seconds = [row["budget/seconds"] for row in read_metrics(metrics) if "budget/seconds" in row]
    files = [path for path in run_dir.rglob("*") if path.is_file() and path != metrics]
    kept = [path for path in files if path.parent.name != "tensorboard" and path.name != "command.txt"]
    return Turn(
        name,
        (time.monotonic() - began) / 60,
        resident() / 1e6,
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        1000 * (seconds[-1] - seconds[-2]) / TEXTS,
        1000 * spent / TEXTS,
        sum(path.stat().st_size for path in kept) / 1e3,
        metrics.stat().st_size / len(metrics.read_bytes().splitlines()),
    )


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def turns(minutes: float, folder: Path) -> Iterator[Turn]:
    """Train one agent after the other until the time is over."""
    began, passes = time.monotonic(), 0
    while passes < 4 * WARM_UP or time.monotonic() - began < 60 * minutes:
        passes += 1
        for name in MIX:
            yield take_turn(name, passes, folder, began)


def judge(rows: Sequence[Mapping[str, float | str]]) -> dict[str, tuple[float, float, bool]]:
    """Compare the last quarter of the turns with the quarter before, agent by agent.

    Returns:
        For each entry of LIMITS: the medians over the agents of the third and of the last quarter, and whether every
        agent grows within the limit.
    """
    found = {}
    agents = sorted({str(row["agent"]) for row in rows})
    for key, limit in LIMITS.items():
        pairs = []
        for agent in agents:
            values = [float(row[key]) for row in rows if row["agent"] == agent][WARM_UP:]
            quarter = max(1, len(values) // 4)
            pairs.append((median(values[-2 * quarter : -quarter]), median(values[-quarter:])))
        flat = all(after <= before * (1 + limit.fraction) + limit.amount for before, after in pairs)
        before, after = (median(column) for column in zip(*pairs, strict=True))
        found[key] = (before, after, flat)
    return found


@bounded
def main(minutes: PositiveFloat = 60.0, log: Path = Path("soak.jsonl")) -> None:
    """Train, log, and check the limits.

    Args:
        minutes: how long; each agent takes at least eight turns.
        log: file for one line per turn.
    """
    folder, rows = Path(tempfile.mkdtemp(prefix="soak-")), []
    for task in TASKS.values():
        write_records(task, folder / "data" / task.env_id.rpartition("/")[2], TEXTS)
    with log.open("w", encoding="utf-8") as file:
        for turn in turns(minutes, folder):
            rows.append(asdict(turn))
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
    shutil.rmtree(folder)
    print(f"{len(rows)} turns of {len(MIX)} agents in {rows[-1]['minutes']:.0f} minutes")
    judged = judge(rows)
    for key, (before, after, flat) in judged.items():
        print(f"{key:12} {before:10.1f} → {after:10.1f}  {'flat' if flat else 'GROWS'}")
    sys.exit(0 if all(flat for _, _, flat in judged.values()) else 1)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
