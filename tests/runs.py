"""Small runs for the tests of the command line: a corpus of forty texts, and training in this process."""

import json
from itertools import product
from pathlib import Path

from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.train import main

PEOPLE = ("Ada", "Noor", "Ivo", "Mira", "Tess", "Odd")
PLACES = ("Oslo", "Turin", "Lima", "Perth", "Quito", "Riga")


def write_corpus(folder: Path, splits: tuple[str, ...] = ("train", "dev", "test")) -> Path:
    """Write a CoNLL corpus of people who see places, with twelve different texts per split."""
    pairs = list(product(PEOPLE, PLACES))
    folder.mkdir(parents=True, exist_ok=True)
    for i, split in enumerate(splits):
        texts = (f"{a} B-PER\nsaw O\n{b} B-LOC\n. O\n\n" for a, b in pairs[i::3])
        (folder / f"{split}.txt").write_text("".join(texts), encoding="utf-8")
    return folder


def options(data: Path, run_dir: Path, *more: str) -> list[str]:
    """Return the options of a run of three passes: twelve updates of four texts, every second one logged."""
    given = {
        "run_dir": run_dir,
        "env.dataset": data,
        "env.num_envs": 4,
        "evaluation.num_envs": 4,
        "agent.samples": 4,
        "budget.passes": 3,
        "log_interval": 2,
        "device": "cpu",
    }
    return [*(f"--{key}={value}" for key, value in given.items()), *more]


def train(data: Path, run_dir: Path, *more: str) -> Path:
    """Train to the end and return the run folder."""
    main(options(data, run_dir, *more))
    return run_dir


def curve(run_dir: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.jsonl without the values that depend on the machine's speed."""
    return [
        {
            tag: value
            for tag, value in row.items()
            if not tag.startswith(("time/fps", "time/time_elapsed", "budget/seconds", "budget/peak_memory_bytes"))
        }
        for row in read_metrics(run_dir / "metrics.jsonl")
    ]


def report(run_dir: Path) -> dict[str, object]:
    """Return report.json without the values that depend on the machine."""
    content = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in ("seconds", "peak_memory_bytes")}
