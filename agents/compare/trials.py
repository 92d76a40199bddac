"""The trials of a search in a study's folder, also of earlier versions, and the settings that they chose."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

JOURNAL = Path("trials/optuna.journal")  # in the study's folder; the random search of version 0.1 has none
TRIAL_SEED = 10_000  # shared by all trials, so that they differ only in settings; studies have fewer seeds


def read_trials(out: Path) -> list[dict[str, Any]]:
    """Return the lines of trials.csv, or none."""
    path = out / "trials.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def chosen_settings(out: Path) -> dict[str, Mapping[str, Any]]:
    """Return the settings that the search chose for each row."""
    return {line["row"]: json.loads(line["settings"]) for line in read_trials(out) if line["chosen"] == "True"}


def trials_of(out: Path) -> dict[str, int]:
    """Return the number of trials of each row."""
    found: dict[str, int] = {}
    for line in read_trials(out):
        found[line["row"]] = found.get(line["row"], 0) + 1
    return found
