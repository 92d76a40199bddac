"""A study: the compared algorithms, their task and budget. Read from YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lm_gym.agents.runs.settings import BUDGETS, SettingsError
from lm_gym.bounds import PositiveInt, check_value
from lm_gym.data.errors import nearest

_STUDY_KEYS = {"title": str, "metric": str, "shown": list, "budget": dict, "common": dict, "rows": dict, "twin": str,
               "zero_shot": bool}  # fmt: skip
_ROW_KEYS = {"family": str, "config": str | list, "settings": dict, "start": str, "seeds": int, "budget": dict,
             "search": dict}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of a study.

    Attributes:
        name: name of the row.
        configs: YAML files of `python -m agents.train`; later files override earlier ones.
        settings: settings of `python -m agents.train` by dotted key; they override the files.
        budget: one budget by name; by default the study's.
        family: group of rows in the report: by default "supervised", "policy gradient" or "gradient-free".
        start: name of the row whose best model this row starts from: that of the same seed, or of seed 0 if there is
            none of that seed.
        seeds: maximum number of seeds; None for no maximum.
        search: dotted key → the values to try, or {low, high} of a log-uniform range.
    """

    name: str
    configs: tuple[Path, ...]
    settings: Mapping[str, Any]
    budget: Mapping[str, Any]
    family: str = ""
    start: str | None = None
    seeds: int | None = None
    search: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The row's name as it appears in the names of run folders."""
        return "".join(c if c.isalnum() else "_" for c in self.name).strip("_")


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        path: the file that it was read from.
        title: title of the report.
        metric: metric that chooses models and compares rows.
        shown: further metrics in the table.
        budget: the budget of each row, by name.
        rows: rows by name, in the order of the table.
        twin: name of the row that others are compared with; by default the first supervised row.
        zero_shot: whether the untrained model already knows the task.
    """

    path: Path
    title: str
    metric: str
    shown: tuple[str, ...]
    budget: Mapping[str, Any]
    rows: Mapping[str, Row]
    twin: str | None
    zero_shot: bool

    def levels(self, names: Sequence[str]) -> list[list[Row]]:
        """Return the rows `names` and the rows they start from, each in a later level than its start."""
        wanted: list[str] = []
        for name in names:
            wanted += [needed for needed in self.chain(name) if needed not in wanted]
        depth = {name: len(self.chain(name)) - 1 for name in wanted}
        ordered = [row for name, row in self.rows.items() if name in depth]
        return [[row for row in ordered if depth[row.name] == level] for level in range(max(depth.values()) + 1)]

    def chain(self, name: str) -> list[str]:
        """Return the rows that lead to a row, in order, ending with the row itself.

        Raises:
            SettingsError: the rows start from one another in a circle.
        """
        found = [name]
        while (start := self.rows[found[0]].start) is not None:
            if start in found:
                raise SettingsError(f"{self.path}: rows start from one another: {' ← '.join([start, *found])}")
            found.insert(0, start)
        return found


def read_study(path: Path) -> Study:
    """Read a study.

    Raises:
        SettingsError: an unreadable file, an unknown or missing key, a value of the wrong type, a row that starts from
            an unknown row, or rows that start from one another.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    _check_keys(str(path), content, _STUDY_KEYS, ("title", "metric", "budget", "rows"))
    budget = _budget(str(path), content["budget"])
    common = content.get("common", {})
    chosen_by = {"evaluation.metric": content["metric"]}
    rows = {
        str(name): _row(path, str(name), given or {}, budget, {**common, **chosen_by})
        for name, given in content["rows"].items()
    }
    slugs: dict[str, str] = {}
    for row in rows.values():
        if row.start is not None and row.start not in rows:
            raise SettingsError(
                f"{path}: row {row.name!r} starts from unknown row {row.start!r}{nearest(row.start, rows)}"
            )
        if slugs.setdefault(row.slug, row.name) != row.name:
            raise SettingsError(f"{path}: rows {slugs[row.slug]!r} and {row.name!r} would have the same folders")
    twin = content.get("twin")
    if twin is not None and twin not in rows:
        raise SettingsError(f"{path}: twin {twin!r} is not a row{nearest(twin, rows)}")
    return Study(
        path, content["title"], content["metric"], tuple(content.get("shown", ())), budget, rows, twin,
        content.get("zero_shot", False),
    )  # fmt: skip


def _row(path: Path, name: str, given: Any, budget: Mapping[str, Any], common: Mapping[str, Any]) -> Row:
    where = f"{path}: row {name!r}"
    _check_keys(where, given, _ROW_KEYS)
    configs = given.get("config", [])
    seeds = given.get("seeds")
    check_value(f"{where}: seeds", seeds, PositiveInt | None)
    return Row(
        name,
        tuple(path.parent / config for config in ([configs] if isinstance(configs, str) else configs)),
        {**common, **given.get("settings", {})},
        _budget(where, given["budget"]) if "budget" in given else budget,
        given.get("family", ""),
        given.get("start"),
        seeds,
        given.get("search", {}),
    )


def options(
    row: Row, given: Mapping[str, str], start: Path | None, chosen: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the row's options of `python -m agents.train`, without seed and folder.

    Args:
        row: the row.
        given: settings from the command line of the study (dataset, model); the row's settings override them.
        start: the model to start from.
        chosen: settings found by a search; they override the row's settings.
    """
    settings = {**given, **row.settings, **(chosen or {}), **{f"budget.{k}": v for k, v in row.budget.items()}}
    if start is not None:
        settings["policy.model"] = str(start)
    found = [part for config in row.configs for part in ("--config", str(config))]
    for key, value in _folded(settings).items():
        found += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return [*found, "--threads", "1"]


def _folded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn keys below section.key, such as `agent.optimizer_kwargs.sigma`, into entries of a mapping."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        parts = key.split(".")
        stem = ".".join(parts[:2])
        for part in reversed(parts[2:]):
            value = {part: value}
        found[stem] = {**found[stem], **value} if isinstance(found.get(stem), dict) and len(parts) > 2 else value
    return found


def _budget(where: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict) or len(given) != 1:
        raise SettingsError(f"{where}: budget is {given!r}: give one of {', '.join(BUDGETS)} and its value")
    (name,) = given
    if name not in BUDGETS:
        raise SettingsError(
            f"{where}: unknown budget {name!r}{nearest(str(name), BUDGETS)}: choose one of {', '.join(BUDGETS)}"
        )
    return given


def _check_keys(where: str, content: Any, known: Mapping[str, Any], needed: Sequence[str] = ()) -> None:
    if not isinstance(content, dict):
        raise SettingsError(f"{where} must be a mapping of keys to values, got {type(content).__name__}")
    for key, value in content.items():
        if key not in known:
            raise SettingsError(
                f"{where}: unknown key {key!r}{nearest(str(key), known)}: choose from {', '.join(known)}"
            )
        if not isinstance(value, known[key]):
            raise SettingsError(
                f"{where}: {key} must be of type {getattr(known[key], '__name__', known[key])}, got {value!r}"
            )
    for key in needed:
        if not content.get(key):
            raise SettingsError(f"{where}: {key} is missing")
