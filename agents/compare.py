"""Compares algorithms on one task under one budget, see docs/compare.md.

study.yaml → lm_gym.agents.comparison.study     rows, budgets, checked as a whole
           → lm_gym.agents.comparison.search    settings tried on validation
           → lm_gym.agents.comparison.runs      one process of the command `train` a run
           → lm_gym.agents.comparison.results   what they reached
           → lm_gym.agents.comparison.report    tables and charts
"""

import importlib.util
import shlex
import signal
import sys
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lm_gym.agents.comparison.progress import StudyProgress
from lm_gym.agents.comparison.results import read_results, write_results
from lm_gym.agents.comparison.runs import Job, Runs
from lm_gym.agents.comparison.search import TRIAL_SEED, chosen_settings, record_trials, trial_settings
from lm_gym.agents.comparison.study import Row, Study, check_rows, options, read_study
from lm_gym.agents.runs.command_line import check_key, fail, show_warnings_plainly
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.agents.runs.shipped import find_study
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.bounds import NonNegativeInt, PositiveInt, check_arguments


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        study: the study.
        levels: its rows that run, each level after the one before.
        out: its folder.
        seeds: of each row, at most.
        jobs: processes at a time.
        trials: of each row that has something to search.
        given: settings from the command line, below those of the rows.
        command: what was typed, without paths of data and models.
        publish: where a copy of the report goes.
    """

    study: Study
    levels: list[list[Row]]
    out: Path
    seeds: PositiveInt
    jobs: PositiveInt
    trials: NonNegativeInt
    given: Mapping[str, str]
    command: str
    publish: Path | None = None

    def job(self, row: Row, seed: int, settings: Mapping[str, Any]) -> Job:
        """A run of the study."""
        return self._job(row, seed, self.out / f"{row.slug}-{seed}", settings)

    def trial(self, row: Row, trial: int) -> tuple[Row, dict[str, Any], Job]:
        """A run of the search."""
        settings = trial_settings(row, trial)
        return row, settings, self._job(row, TRIAL_SEED, self.out / "trials" / f"{row.slug}-trial{trial}", settings)

    def _job(self, row: Row, seed: int, folder: Path, settings: Mapping[str, Any]) -> Job:
        start = None if row.start is None else self.out / f"{self.study.rows[row.start].slug}-0" / "best"
        return Job(row.name, seed, folder, tuple(options(row, self.given, start, settings)), start)

    def trials_of(self, rows: Sequence[Row]) -> list[tuple[Row, dict[str, Any], Job]]:
        """The search of some rows."""
        return [self.trial(row, k) for row in rows if row.search for k in range(self.trials)]

    def jobs_of(self, rows: Sequence[Row]) -> list[Job]:
        """The study's runs of some rows: seed by seed, so that all rows have some when it is stopped early."""
        chosen = chosen_settings(self.out)
        seeds = {row.name: min(row.seeds or self.seeds, self.seeds) for row in rows}
        return [
            self.job(row, seed, chosen.get(row.name, {}))
            for seed in range(self.seeds)
            for row in rows
            if seed < seeds[row.name]
        ]


def build_parser() -> ArgumentParser:
    """The parser of the command."""
    parser = ArgumentParser(
        prog=program("compare"),
        description="Trains every row of a study under one budget, and writes the comparison. Runs that are finished "
        "are not repeated, one that was stopped goes on.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("study", type=str, help="a YAML file, or the name of a study in configs/compare/")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row; a row may ask for fewer")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each on one thread")
    parser.add_argument("--out", type=str | None, default=None, help="by default runs/compare/<study>")
    parser.add_argument("--rows", type=str, default="", help="only rows whose names begin so, and what they begin from")
    parser.add_argument("--dataset", type=str | None, default=None, help="as --env.dataset of every row")
    parser.add_argument("--model", type=str | None, default=None, help="as --policy.model of rows that begin afresh")
    parser.add_argument("--trials", type=int, default=0, help="random search on validation, for rows with `search`")
    parser.add_argument("--publish", type=str | None, default=None, help="a folder for a copy of report.md and charts")
    parser.add_argument("--report-only", action="store_true", help="write the report of what is finished, run nothing")
    return parser


def parse_plan(arguments: Sequence[str]) -> tuple[Plan, bool]:
    """What a command line asks for, and whether it asks for the report only.

    Raises:
        SettingsError: an unknown option (with the nearest one), a study that can't be read, rows that aren't there.
    """
    parser = build_parser()
    known = [name.replace("_", "-") for name in parser.get_defaults().as_dict()]
    for argument in arguments:
        if argument.startswith("--"):
            check_key("the command line", argument[2:].partition("=")[0], [*known, "help"], "")
    try:
        values = parser.parse_args(list(arguments))
    except ArgumentError as error:
        raise SettingsError(str(error)) from error
    check_arguments(Plan, {name: getattr(values, name) for name in ("seeds", "jobs", "trials")})
    study = read_study(find_study(values.study))
    names = [name for name in study.rows if name.startswith(values.rows)]
    if not names:
        raise SettingsError(f"no row begins with {values.rows!r}: the study has {', '.join(study.rows)}")
    given = {"env.dataset": values.dataset, "policy.model": values.model}
    out = Path("runs/compare") / study.path.stem if values.out is None else Path(values.out)
    plan = Plan(
        study,
        study.levels(names),
        out.resolve(),
        values.seeds,
        values.jobs,
        values.trials,
        {key: value for key, value in given.items() if value is not None},
        _shown_command(values),
        None if values.publish is None else Path(values.publish),
    )
    return plan, values.report_only


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's by default."""
    show_warnings_plainly()
    console = Terminal()
    before = signal.signal(signal.SIGTERM, _stop)  # ends as by Ctrl-C, and takes its runs along
    try:
        _need_matplotlib()
        plan, report_only = parse_plan(list(sys.argv[1:] if arguments is None else arguments))
        if not report_only:
            run_study(plan, console)
        write(plan, console)
    except (ValueError, OSError, RunFolderError) as error:
        fail(program("compare"), error)
    except KeyboardInterrupt:
        console.say("\nstopped; the same command goes on where it was")
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def run_study(plan: Plan, console: Terminal) -> None:
    """Check the study as a whole, then run what isn't finished."""
    found = check_rows(plan.study, plan.levels, plan.given)
    every = [job for rows in plan.levels for job in [*(job for _, _, job in plan.trials_of(rows)), *plan.jobs_of(rows)]]
    for job in every:
        job.check()
    times = {settings.evaluation.times for settings in found.values()}
    evaluations = times.pop() if len(times) == 1 else None
    plan.out.mkdir(parents=True, exist_ok=True)
    done = sum(job.finished for job in every)
    progress = StudyProgress(console, plan.study.metric, evaluations and evaluations + 1, len(every), done)
    runs = Runs(plan.out, plan.jobs, progress.started, progress.ended, progress.waiting)
    with progress:
        for rows in plan.levels:
            trials = plan.trials_of(rows)
            if trials:
                runs.run([job for _, _, job in trials])
                record_trials(plan.study, plan.out, trials)
            runs.run(plan.jobs_of(rows))


def write(plan: Plan, console: Terminal) -> None:
    """Write everything that the finished and failed runs of the study's folder say."""
    from lm_gym.agents.comparison.board import write_board  # with matplotlib, which is an extra
    from lm_gym.agents.comparison.report import publish, write_report

    results = read_results(plan.study, plan.out)
    if not results.runs:
        fail(program("compare"), SettingsError(f"{plan.out} has no finished run: leave --report-only out"))
    write_results(results)
    write_board(results, write_report(results, plan.command))
    if plan.publish is not None:
        console.say(publish(results, plan.publish))
    count = sum(len(runs) for runs in results.finished.values())
    failed = f", {len(results.failed)} failed" if results.failed else ""
    console.say(f"{count} {'run' if count == 1 else 'runs'}{failed}: {plan.out}/report.html")


def _shown_command(values: Any) -> str:
    """The command for the report: paths of data and models are the reader's own."""
    parts = [values.study, "--seeds", str(values.seeds)]
    parts += ["--trials", str(values.trials)] if values.trials else []
    shown = f"{program('compare')} {shlex.join(parts)}"
    return shown + "".join(f" --{name} …" for name in ("dataset", "model") if getattr(values, name))


def _need_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError("the charts need matplotlib: pip install 'lm-gym[compare]'")


def _stop(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
