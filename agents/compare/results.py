"""Results of the runs of a study, read from their folders, and results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.compare.runs import read_failures
from lm_gym.agents.compare.statistics import Scores
from lm_gym.agents.compare.study import Row, Study
from lm_gym.agents.evaluation.report import split_of
from lm_gym.agents.files import write_text
from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.runs.run_folder import read_json
from lm_gym.agents.runs.settings import equivalents
from lm_gym.envs import find_task
from lm_gym.tasks.metric import metric_of


@dataclass(frozen=True)
class Curve:
    """The evaluations of a run on validation during training: the metric and the costs so far, [E] each."""

    values: Scores
    equivalents: Scores
    seconds: Scores
    peak_memory_bytes: Scores


@dataclass(frozen=True)
class StudyRun:
    """A run of a row.

    Attributes:
        row, family, seed, folder: identity of the run.
        report: content of report.json; None if the run is not finished.
        curve: its evaluations; None if the run is not finished.
        failure: its last line on stderr; None if it did not fail.
    """

    row: str
    family: str
    seed: int
    folder: Path
    report: Mapping[str, Any] | None
    curve: Curve | None
    failure: str | None

    def score(self, metric: str) -> float:
        """Return a metric on test, or on validation if there is no test split."""
        assert self.report is not None
        return _number(self.report["metrics"][split_of(self.report)].get(metric))

    @property
    def equivalents(self) -> int:
        """Forward-pass equivalents of its training."""
        assert self.report is not None
        return equivalents(self.report["forward_passes"], self.report["backward_passes"])

    @property
    def seconds(self) -> float:
        """Seconds of its training."""
        assert self.report is not None
        return float(self.report["seconds"])


@dataclass(frozen=True)
class Results:
    """All existing runs of a study.

    Attributes:
        study: the study.
        out: its folder.
        runs: finished and failed runs, row by row in the study's order.
    """

    study: Study
    out: Path
    runs: tuple[StudyRun, ...]

    @cached_property
    def finished(self) -> dict[str, list[StudyRun]]:
        """The finished runs of each row that has any."""
        found: dict[str, list[StudyRun]] = {}
        for run in self.runs:
            if run.report is not None:
                found.setdefault(run.row, []).append(run)
        return found

    @cached_property
    def failed(self) -> list[StudyRun]:
        """The failed runs."""
        return [run for run in self.runs if run.failure is not None]

    @property
    def sign(self) -> int:
        """1 if a higher metric is better, else −1."""
        return -1 if metric_of(self.study.metric).lower_is_better else 1

    def scores(self, row: str, metric: str | None = None) -> Scores:
        """Return a metric of the finished runs of a row, [S]."""
        return np.array([run.score(metric or self.study.metric) for run in self.finished[row]])

    @property
    def twin(self) -> str | None:
        """The row that others are compared with, if it has finished runs."""
        named = self.study.twin
        if named is not None:
            return named if named in self.finished else None
        return next((row for row, runs in self.finished.items() if runs[0].family == "supervised"), None)

    def before(self, run: StudyRun) -> list[StudyRun]:
        """Return the finished runs that lead to a run, in order: those of its seed, or the first ones."""
        found: list[StudyRun] = []
        for name in self.study.chain(run.row)[:-1]:
            runs = self.finished.get(name, [])
            found += [other for other in runs if other.seed == run.seed] or runs[:1]
        return found

    @cached_property
    def baselines(self) -> dict[str, dict[str, Scores]]:
        """The rows to beat: by name and metric, one number for each seed of the rows that begin from no other, [S]."""
        by_seed: dict[int, Mapping[str, Any]] = {}
        for run in (run for runs in self.finished.values() for run in runs):
            if run.report is not None and self.study.rows[run.row].start is None:
                by_seed.setdefault(run.seed, run.report["baselines"])
        found: dict[str, dict[str, list[float]]] = {}
        for _, rows in sorted(by_seed.items()):
            for name, metrics in rows.items():
                for metric, value in metrics.items():
                    found.setdefault(name, {}).setdefault(metric, []).append(_number(value))
        return {name: {m: np.array(values) for m, values in metrics.items()} for name, metrics in found.items()}

    @property
    def first(self) -> Mapping[str, Any] | None:
        """The report of a run that starts from no other row, for shared facts and baselines."""
        found = [
            run.report for runs in self.finished.values() for run in runs if self.study.rows[run.row].start is None
        ]
        return found[0] if found else None


def _number(value: float | None) -> float:
    """Return a number of a report, where null stands for NaN."""
    return np.nan if value is None else float(value)


def read_results(study: Study, out: Path) -> Results:
    """Read every run of the study's rows in its folder."""
    failures = read_failures(out)
    runs = []
    for row in study.rows.values():
        names = {path.name for path in out.glob(f"{row.slug}-*") if path.name.removeprefix(f"{row.slug}-").isdigit()}
        names |= {name for name in failures if name.rpartition("-")[0] == row.slug}
        runs += [
            _run(study, row, out / name, failures)
            for name in sorted(names, key=lambda name: int(name.rpartition("-")[2]))
        ]
    return Results(study, out, tuple(run for run in runs if run.report is not None or run.failure is not None))


def _run(study: Study, row: Row, folder: Path, failures: Mapping[str, str]) -> StudyRun:
    seed = int(folder.name.rpartition("-")[2])
    config, file = folder / "config.yaml", folder / "report.json"
    report = read_json(file) if file.is_file() else None
    settings = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else report or {}
    algo = settings.get("algo")  # config.yaml names a user's module, too
    family = row.family or (find_algorithm(algo).family if algo else "")
    if report is None:
        return StudyRun(row.name, family, seed, folder, None, None, failures.get(folder.name))
    find_task(report["env"])  # registers the metrics of a user's task
    return StudyRun(row.name, family, seed, folder, report, _curve(study.metric, folder), None)


def _curve(metric: str, folder: Path) -> Curve:
    logs = [log for log in read_metrics(folder / "metrics.jsonl") if f"eval/{metric}" in log]
    spent = [
        equivalents(int(log.get("budget/forward_passes", 0)), int(log.get("budget/backward_passes", 0))) for log in logs
    ]  # the first log has no costs
    columns = ([log[name] for log in logs] for name in (f"eval/{metric}", "budget/seconds", "budget/peak_memory_bytes"))
    values, seconds, memory = (np.array(column, np.float64) for column in columns)
    return Curve(values, np.array(spent, np.float64), seconds, memory)


def tokens_per_second(report: Mapping[str, Any]) -> float:
    """Return the number of tokens through the model per second of training."""
    return float(report["tokens"] / max(report["seconds"], 1e-9))


def write_results(results: Results) -> None:
    """Write results.csv, with one line per run."""
    metrics = sorted(
        {
            (split, name)
            for run in results.runs
            if run.report
            for split, values in run.report["metrics"].items()
            for name in values
        }
    )
    lines: list[dict[str, Any]] = []
    for run in results.runs:
        line: dict[str, Any] = {
            "row": run.row,
            "family": run.family,
            "seed": run.seed,
            "status": run.failure and "failed",
        }
        if run.report is not None:
            line |= {"status": "finished"}
            line |= {f"{split}/{name}": run.report["metrics"].get(split, {}).get(name) for split, name in metrics}
            line |= {key: run.report[key] for key in ("forward_passes", "backward_passes")}
            line |= {"equivalents": run.equivalents, "seconds": run.report["seconds"], "tokens": run.report["tokens"]}
            line |= {"tokens_per_second": round(tokens_per_second(run.report), 1)}
            line |= {"peak_memory_bytes": run.report["peak_memory_bytes"], "chosen_pass": run.report["chosen"]["pass"]}
        lines.append({**line, "folder": run.folder.name, "failure": run.failure})
    write_csv(results.out / "results.csv", lines)


def write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a table whose columns are the keys of all lines, in order of appearance."""
    columns = list(dict.fromkeys(key for line in sorted(lines, key=len, reverse=True) for key in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())
