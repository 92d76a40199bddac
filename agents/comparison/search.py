"""A modest random search over a row's settings: on validation, with a seed that is none of the study's."""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lm_gym.agents.comparison.results import write_csv
from lm_gym.agents.comparison.runs import Job, read_failures
from lm_gym.agents.comparison.study import Row, Study
from lm_gym.tasks.metric import metric_of

TRIAL_SEED = 10_000  # of every trial, so that they differ by their settings alone; a study has fewer seeds


def trial_settings(row: Row, trial: int) -> dict[str, Any]:
    """What a trial changes: nothing in the first one, which is the row as it stands; then values drawn at random.

    A trial is keyed by the row's name and its own number, so that more trials begin with the same ones.
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
    """Write trials.csv, those of other rows that it has kept, with the best finished trial of each row chosen.

    A trial is scored by its validation metric alone, of equals the first is chosen; one that failed is kept with its
    message.
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
    """What the search has chosen for each row, if there was one."""
    return {line["row"]: json.loads(line["settings"]) for line in _read(out) if line["chosen"] == "True"}


def trials_of(out: Path) -> dict[str, int]:
    """Trials that each row has had."""
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
