"""A small random search over the settings of a row, on validation, with a seed that the study does not use."""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_gym.agents.compare.results import write_csv
from lm_gym.agents.compare.runs import Job, read_failures
from lm_gym.agents.compare.study import Row, Study
from lm_gym.tasks.metric import metric_of

TRIAL_SEED = 10_000  # shared by all trials, so that they differ only in settings; studies have fewer seeds


def trial_settings(row: Row, trial: int) -> dict[str, Any]:
    """Return the settings that a trial changes: none for the first trial, random values for the others.

    Random values are keyed by the row's name and the trial's number, so that a longer search begins with the same
    trials.
    """
    if trial == 0:
        return {}
    generator = np.random.default_rng([zlib.crc32(row.name.encode()), trial])
    found = {}
    for key, values in row.search.items():
        if isinstance(values, list):
            found[key] = values[int(generator.integers(len(values)))]
        else:
            drawn = math.exp(generator.uniform(math.log(values["low"]), math.log(values["high"])))
            found[key] = float(f"{drawn:.3g}")
    return found


def record_trials(study: Study, out: Path, trials: Sequence[tuple[Row, dict[str, Any], Job]]) -> None:
    """Write trials.csv and choose the best finished trial of each row; trials of other rows in the file are kept.

    Trials are scored only by the validation metric. Among equal trials the first is chosen. Failed trials are recorded
    with their message.
    """
    failures = read_failures(out)
    lines = [line for line in _read(out) if line["row"] not in {row.name for row, _, _ in trials}]
    by_row: dict[str, list[dict[str, Any]]] = {}
    for row, settings, job in trials:
        value = None
        if job.finished:
            report = json.loads((job.folder / "report.json").read_text(encoding="utf-8"))
            value = report["metrics"]["validation"][study.metric]
        found = by_row.setdefault(row.name, [])
        line = {"row": row.name, "trial": len(found), "settings": json.dumps(settings), "seed": job.seed}
        line |= {f"validation/{study.metric}": value, "chosen": False, "failure": failures.get(job.folder.name)}
        found.append(line)
    sign = -1 if metric_of(study.metric).lower_is_better else 1
    for found in by_row.values():
        scored = [line for line in found if line[f"validation/{study.metric}"] is not None]
        if scored:
            max(scored, key=lambda line: sign * line[f"validation/{study.metric}"])["chosen"] = True
        lines += found
    if lines:
        write_csv(out / "trials.csv", lines)


def chosen_settings(out: Path) -> dict[str, Mapping[str, Any]]:
    """Return the settings that the search has chosen for each row."""
    return {line["row"]: json.loads(line["settings"]) for line in _read(out) if line["chosen"] == "True"}


def trials_of(out: Path) -> dict[str, int]:
    """Return the number of trials of each row."""
    found: dict[str, int] = {}
    for line in _read(out):
        found[line["row"]] = found.get(line["row"], 0) + 1
    return found


def _read(out: Path) -> list[dict[str, Any]]:
    path = out / "trials.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
