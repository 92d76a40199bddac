"""The search for the settings of a row on validation, by Optuna, with a seed that the study does not use.

Each row has its own Optuna study in `trials/optuna.journal`. Its trials run one after another, because each
depends on the earlier ones; the rows run in parallel. The result is therefore the same for every number of parallel
processes, and after a kill.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lm_gym.agents.compare.results import write_csv
from lm_gym.agents.compare.runs import Job, evaluations
from lm_gym.agents.compare.study import Row, Study
from lm_gym.agents.compare.trials import JOURNAL, TRIAL_SEED, read_trials
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.tasks.metric import metric_of

_RANDOM = 4  # trials of a row before TPE and the pruner have enough data
_WARMUP = 3  # evaluations before a trial can be stopped; the first one is before training


class Search:
    """The trials of some rows.

    Args:
        study: the study.
        out: its folder.
        rows: the rows to search; those without `search` are left out.
        trials: number of trials of each row, including stopped and failed ones.
        job: a function that returns the run of a row, the number of a trial, and its settings.

    Raises:
        SettingsError: the folder has trials of another kind of search or of other ranges.
    """

    def __init__(
        self,
        study: Study,
        out: Path,
        rows: Sequence[Row],
        trials: int,
        job: Callable[[Row, int, Mapping[str, Any]], Job],
    ) -> None:
        self._study, self._out, self._trials, self._job = study, out, trials, job
        self._rows = {row.name: row for row in rows if row.search and trials}
        self._running: dict[Job, Trial] = {}
        self._studies = self._open() if self._rows else {}

    def first(self) -> list[Job]:
        """Return the trial to run now of each row that has one."""
        return [job for name in self._rows if (job := self._next(name)) is not None]

    def hopeless(self, job: Job) -> bool:
        """Return whether the pruner stops a trial, given its evaluations so far."""
        trial = self._running[job]
        values = evaluations(job.folder, self._study.metric)
        if trial.should_prune():  # decided before a kill
            return True
        for step in range(len(self._frozen(job).intermediate_values), len(values)):
            trial.report(values[step], step)
            if trial.should_prune():
                return True
        return False

    def ended(self, job: Job, failure: str | None) -> Job | None:
        """Record a trial that has ended, and return the next trial of its row.

        Args:
            job: its run.
            failure: the last line of a run that failed.
        """
        study, number = self._studies[job.row], self._frozen(job).number
        if failure is None and self.hopeless(job):  # also of a run that ended before it could be stopped
            study.tell(number, state=TrialState.PRUNED)
        elif failure is None and not math.isnan(value := _validation(job, self._study.metric)):
            study.tell(number, value)
        else:
            self._running[job].set_user_attr("failure", failure or f"{self._study.metric} is undefined")
            study.tell(number, state=TrialState.FAIL)
        del self._running[job]
        return self._next(job.row)

    def record(self) -> None:
        """Write trials.csv and choose the best complete trial of each row; lines of other rows are kept.

        Among equal trials the first is chosen. Only the validation metric counts.
        """
        lines = [line for line in read_trials(self._out) if line["row"] not in self._rows]
        for name in self._rows:
            lines += self._lines(name)
        if lines:
            write_csv(self._out / "trials.csv", lines)

    @property
    def done(self) -> int:
        """Number of trials that have ended."""
        return sum(trial.state.is_finished() for name in self._rows for trial in self._trials_of(name))

    @property
    def total(self) -> int:
        """Number of trials of all rows."""
        return self._trials * len(self._rows)

    def _open(self) -> dict[str, optuna.Study]:
        journal = self._out / JOURNAL
        if not journal.is_file() and read_trials(self._out):
            raise SettingsError(
                f"{self._out} has trials of a random search by an earlier version: leave --trials out to keep its "
                "choices, or give another --out"
            )
        journal.parent.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _cut_last_line(journal)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        better = metric_of(self._study.metric)
        direction = StudyDirection.MINIMIZE if better.lower_is_better else StudyDirection.MAXIMIZE
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_RANDOM, n_warmup_steps=_WARMUP)
        studies = {
            name: optuna.create_study(
                storage=storage, study_name=name, direction=direction, pruner=pruner, load_if_exists=True
            )
            for name in self._rows
        }
        for name, study in studies.items():
            self._check(self._rows[name], study)
        return studies

    def _check(self, row: Row, study: optuna.Study) -> None:
        """Raise SettingsError if existing trials had other settings than those of the study."""
        asked = {"metric": self._study.metric, "search": dict(row.search)}
        before = study.user_attrs.get("asked", asked)
        if before != asked:
            raise SettingsError(
                f"the trials of row {row.name!r} in {self._out} had {json.dumps(before)}, but the study has "
                f"{json.dumps(asked)}: give another --out"
            )
        study.set_user_attr("asked", asked)
        for trial in study.get_trials(deepcopy=False)[: self._trials]:
            if "settings" in trial.user_attrs:
                self._job(row, trial.number, trial.user_attrs["settings"]).check()

    def _next(self, name: str) -> Job | None:
        """Return the trial of a row to run now: an interrupted one, or a new one."""
        study, row = self._studies[name], self._rows[name]
        trials = self._trials_of(name)
        unfinished = [trial for trial in trials if not trial.state.is_finished()]
        if not unfinished and len(trials) >= self._trials:
            return None
        trial = Trial(study, unfinished[0]._trial_id) if unfinished else study.ask()
        job = self._job(row, trial.number, _suggest(study, trial, row))
        self._running[job] = trial
        return job

    def _trials_of(self, name: str) -> list[FrozenTrial]:
        return self._studies[name].get_trials(deepcopy=False)[: self._trials]

    def _frozen(self, job: Job) -> FrozenTrial:
        return self._trials_of(job.row)[self._running[job].number]

    def _lines(self, name: str) -> list[dict[str, Any]]:
        trials = self._trials_of(name)
        sign = -1 if metric_of(self._study.metric).lower_is_better else 1
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        best = max(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)
        return [
            {
                "row": name,
                "trial": trial.number,
                "settings": json.dumps(trial.user_attrs["settings"]),
                "seed": TRIAL_SEED,
                f"validation/{self._study.metric}": trial.value,
                "chosen": trial is best,
                "state": trial.state.name.lower(),
                "failure": trial.user_attrs.get("failure"),
            }
            for trial in trials
        ]


def _suggest(study: optuna.Study, trial: Trial, row: Row) -> dict[str, Any]:
    """Return the settings that a trial changes: none for the first trial, values by TPE for the others.

    Optuna stores the values of a trial, so an interrupted trial gets the same ones again.
    """
    found: dict[str, Any] = {}
    for key, values in row.search.items() if trial.number else ():
        seed = _seed(row, trial.number, key)
        # one setting at a time, because the first trial has none that a joint model could use
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM, multivariate=False, seed=seed)
        if isinstance(values, list):
            found[key] = json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in values]))
        else:
            found[key] = float(f"{trial.suggest_float(key, values['low'], values['high'], log=True):.3g}")
    trial.set_user_attr("settings", found)
    return found


def _seed(row: Row, trial: int, key: str) -> int:
    """Return the seed of a suggestion, so that a resumed search needs no generator state."""
    names = [zlib.crc32(name.encode()) for name in (row.name, key)]
    return int(np.random.SeedSequence([*names, trial]).generate_state(1)[0])


def _validation(job: Job, metric: str) -> float:
    report = json.loads((job.folder / "report.json").read_text(encoding="utf-8"))
    value = report["metrics"]["validation"].get(metric)
    return math.nan if value is None else float(value)


def _cut_last_line(journal: Path) -> None:
    """Remove an incomplete last line, which a full disk may leave."""
    text = journal.read_bytes() if journal.is_file() else b""
    if text and not text.endswith(b"\n"):
        os.truncate(journal, text.rfind(b"\n") + 1)
