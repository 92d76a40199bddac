"""Studies for the tests: a tiny one to train, and the folders of finished runs, written without training."""

import json
import sys
from pathlib import Path

import yaml

from lm_gym.agents.compare.runs import Job

METRICS = ("entity_f1", "token_accuracy")


def write_study(path: Path, rows: dict[str, object], **more: object) -> Path:
    """Write a tagging study with a small budget."""
    content = {"title": "Tiny", "metric": "entity_f1", "shown": ["token_accuracy"], "budget": {"equivalents": 72}}
    common = {"env.num_envs": 4, "evaluation.num_envs": 4, "evaluation.times": 2, "log_interval": 1, "device": "cpu"}
    path.write_text(yaml.safe_dump({**content, "common": common, "rows": rows, **more}, sort_keys=False))
    return path


def write_run(folder: Path, algo: str, values: list[float], forward: int, backward: int, test: float | None) -> None:
    """Write the folder of a finished run: validation F1 `values`, evenly over the budget, and F1 on test."""
    folder.mkdir(parents=True)
    lines = []
    for i, value in enumerate(values):
        part = i / (len(values) - 1)
        spent = {"budget/forward_passes": int(part * forward), "budget/backward_passes": int(part * backward)}
        cost = {"budget/seconds": 10.0 * part, "budget/peak_memory_bytes": 2**29 + i * 2**20}
        lines.append({"timesteps": i, "eval/entity_f1": value, **cost, **(spent if i else {})})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics = {"validation": dict.fromkeys(METRICS, max(values))}
    if test is not None:
        metrics["test"] = dict.fromkeys(METRICS, test)
    report = {"algo": algo, "env": "lm_gym/NER-v0", "dataset": "people", "model": "tiny", "seed": 0, "timesteps": 9}
    report |= {"forward_passes": forward, "backward_passes": backward, "tokens": 5000, "seconds": 10.0}
    report |= {"peak_memory_bytes": 2**29, "chosen": {"pass": 1.0, "timesteps": 9, "entity_f1": max(values)}}
    report |= {"baselines": {"random": dict.fromkeys(METRICS, 0.02), "majority": dict.fromkeys(METRICS, 0.3)}}
    report |= {"metrics": metrics, "fingerprint": "f00d", "reports": ["entities & <tags>", "tokens"]}
    (folder / "config.yaml").write_text(f"algo: {algo}\n")
    (folder / "report.json").write_text(json.dumps(report))


class Said(Job):
    """A job that runs Python code instead of a training. Ray workers import it by name."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", *self.options, str(self.folder)]
