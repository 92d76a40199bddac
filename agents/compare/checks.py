"""Checks of a study's rows before any run starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lm_gym.agents.compare.study import Row, Study, options
from lm_gym.agents.runs.assembly import make_agent, make_env, make_training_dataset, tokenizer_of
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.settings import Settings, SettingsError
from lm_gym.bounds import check_value
from lm_gym.data.errors import nearest


def check_rows(study: Study, levels: Sequence[Sequence[Row]], given: Mapping[str, str]) -> dict[str, Settings]:
    """Parse the settings of each row and create its environment and agent, so that errors appear before training.

    Raises:
        SettingsError: a row cannot run; the message names it.
    """
    found: dict[str, Settings] = {}
    tasks = set()
    for row in (row for level in levels for row in level):
        try:
            settings = parse_settings(options(row, given, None))
            _try(settings, found[study.chain(row.name)[0]] if row.start else settings, study.metric)
        except (ValueError, OSError) as error:
            raise SettingsError(f"{study.path}: row {row.name!r}: {error}") from error
        found[row.name] = settings
        tasks.add((settings.env.id, settings.env.dataset))
        for key in row.search:
            _check_search(f"{study.path}: row {row.name!r}: search", key, row.search[key])
    if len(tasks) > 1:
        raise SettingsError(f"{study.path}: rows have different tasks, {sorted(tasks)}: use one study per task")
    return found


def _try(settings: Settings, root: Settings, metric: str) -> None:
    dataset = make_training_dataset(settings)
    tokenizer = settings.env.tokenizer or tokenizer_of(root)
    env = make_env(settings, dataset, "train", tokenizer, learning=True)
    known = [known.name for known in env.task.all_metrics()]
    if metric not in known:
        raise SettingsError(f"unknown metric {metric!r}{nearest(metric, known)}: choose one of {', '.join(known)}")
    make_agent(settings, env, model=root.policy["model"])


def _check_search(where: str, key: str, values: Any) -> None:
    if isinstance(values, list) and values:
        for value in values:
            check_value(f"{where}: {key}", value, Any)
        return
    numbers = isinstance(values, dict) and set(values) == {"low", "high"}
    if (
        not numbers
        or not all(isinstance(v, int | float) for v in values.values())
        or not 0 < values["low"] < values["high"] < math.inf
    ):
        raise SettingsError(
            f"{where}: {key} is {values!r}: give a list of values, or {{low: …, high: …}} with 0 < low < high "
            "(numbers such as 1.0e-3, not 1e-3)"
        )
