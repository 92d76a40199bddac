"""Compare algorithms on one task under one budget; see docs/compare.md.

study.yaml → lm_gym.agents.compare.study     rows and budgets, checked as a whole
           → lm_gym.agents.compare.checks    every row can run
           → lm_gym.agents.compare.search    settings searched on validation, by Optuna
           → lm_gym.agents.compare.runs      one `train` process per run
           → lm_gym.agents.compare.results   results of the runs
           → lm_gym.agents.compare.report    tables and charts
"""

import importlib.util
import shlex
import signal
import sys
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jsonargparse import ArgumentParser

from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.compare.processes import Launcher, launch
from lm_gym.agents.compare.progress import StudyProgress
from lm_gym.agents.compare.runs import Job, Runs
from lm_gym.agents.compare.study import Row, Study, options, read_study
from lm_gym.agents.compare.trials import TRIAL_SEED, chosen_settings
from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.options import check_key, in_one_line
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.settings import RaySettings, SettingsError
from lm_gym.agents.runs.shipped import find_study
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.bounds import NonNegativeFloat, NonNegativeInt, PositiveInt, check_arguments

if TYPE_CHECKING:
    from lm_gym.agents.compare.search import Search


@dataclass(frozen=True)
class Plan:
    """The parsed command line.

    Attributes:
        study: the study.
        levels: the rows to run; each level starts after the previous one.
        out: the study's folder.
        seeds: maximum number of seeds per row.
        jobs: number of parallel processes.
        trials: number of trials of each row with a search.
        given: settings from the command line, overridden by those of the rows.
        command: the command for the report, without paths of data and models.
        publish: folder for a copy of the report.
        ray: address of the Ray cluster for the runs; None to run on this machine.
        ray_gpus: GPUs of each run on the cluster.
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
    ray: str | None = None
    ray_gpus: NonNegativeFloat = 0.0

    def job(self, row: Row, seed: int, settings: Mapping[str, Any]) -> Job:
        """Return a run of the study."""
        return self._job(row, seed, self.out / f"{row.slug}-{seed}", settings)

    def trial(self, row: Row, trial: int, settings: Mapping[str, Any]) -> Job:
        """Return a trial of the search."""
        return self._job(row, TRIAL_SEED, self.out / "trials" / f"{row.slug}-trial{trial}", settings)

    def _job(self, row: Row, seed: int, folder: Path, settings: Mapping[str, Any]) -> Job:
        start = None
        if row.start is not None:
            begun = self.study.rows[row.start]
            start = self.out / f"{begun.slug}-{seed if seed < self.seeds_of(begun) else 0}" / "best"
        return Job(row.name, seed, folder, tuple(options(row, self.given, start, settings)), start)

    def jobs_of(self, rows: Sequence[Row]) -> list[Job]:
        """Return the runs of some rows, seed by seed, so that a study stopped early has runs of every row."""
        chosen = chosen_settings(self.out)
        return [
            self.job(row, seed, chosen.get(row.name, {}))
            for seed in range(self.seeds)
            for row in rows
            if seed < self.seeds_of(row)
        ]

    def seeds_of(self, row: Row) -> int:
        """Return the number of seeds of a row."""
        return min(row.seeds or self.seeds, self.seeds)


def build_parser() -> ArgumentParser:
    """Return the parser of the command."""
    parser = ArgumentParser(
        prog=program("compare"),
        description="Train every row of a study under one budget, and write the comparison. Finished runs are not "
        "repeated; stopped runs resume.",
        exit_on_error=False,
        default_env=False,
        allow_abbrev=False,
    )
    parser.add_argument("study", type=str, help="a YAML file, or the name of a study in configs/compare/")
    parser.add_argument("--seeds", type=int, default=3, help="number of runs per row; a row may set fewer")
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel runs, each on one thread")
    parser.add_argument("--out", type=str | None, default=None, help="output folder; by default runs/compare/<study>")
    parser.add_argument(
        "--rows", type=str, default="", help="run only rows with this prefix, and the rows they start from"
    )
    parser.add_argument(
        "--dataset", type=str | None, default=None, help="dataset of every row, as --env.dataset of train"
    )
    parser.add_argument(
        "--model",
        type=str | None,
        default=None,
        help="model of the rows that start from no other row, as --policy.model of train",
    )
    parser.add_argument(
        "--trials", type=int, default=0, help="number of trials of each row with `search`, on validation"
    )
    parser.add_argument("--publish", type=str | None, default=None, help="a folder for a copy of report.md and charts")
    parser.add_argument(
        "--ray",
        type=str | None,
        default=None,
        help="run on a Ray cluster: local, auto or HOST:PORT, as ray.address of train; all nodes share --out",
    )
    parser.add_argument("--ray-gpus", type=float, default=0.0, help="number of GPUs per run on the cluster")
    parser.add_argument(
        "--report-only", action="store_true", help="write the report of the finished runs, without running any"
    )
    return parser


def parse_plan(arguments: Sequence[str]) -> tuple[Plan, bool]:
    """Parse a command line; return the plan and whether to write only the report.

    Raises:
        SettingsError: an unknown option (the message suggests the nearest one), an unreadable study, unknown rows.
    """
    parser = build_parser()
    known = [name.replace("_", "-") for name in parser.get_defaults().as_dict()]
    for argument in arguments:
        if argument.startswith("--"):
            check_key("the command line", argument[2:].partition("=")[0], [*known, "help"], "")
    try:
        values = parser.parse_args(list(arguments))
    except ArgumentError as error:
        raise SettingsError(in_one_line(str(error))) from error
    check_arguments(Plan, {name: getattr(values, name) for name in ("seeds", "jobs", "trials", "ray_gpus")})
    if values.ray is not None:
        RaySettings(address=values.ray)  # checks it
    elif values.ray_gpus:
        raise SettingsError(f"--ray-gpus {values.ray_gpus:g} is set without --ray: give the address of a Ray cluster")
    study = read_study(find_study(values.study))
    names = [name for name in study.rows if name.startswith(values.rows)]
    if not names:
        raise SettingsError(f"no row begins with {values.rows!r}: the study has {', '.join(map(repr, study.rows))}")
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
        values.ray,
        values.ray_gpus,
    )
    return plan, values.report_only


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    show_warnings_plainly()
    console = Terminal()
    before = signal.signal(signal.SIGTERM, _stop)  # stops like Ctrl-C, together with its runs
    try:
        _need("matplotlib", "the charts need")
        plan, report_only = parse_plan(list(sys.argv[1:] if arguments is None else arguments))
        if plan.trials:
            _need("optuna", "--trials needs")
        if plan.ray is not None:
            _need("ray", "--ray needs", "ray")
        if not report_only:
            run_study(plan, console)
        write(plan, console)
    except (ValueError, OSError, RunFolderError, WorkerError) as error:
        fail(program("compare"), error)
    except KeyboardInterrupt:
        console.say("\nstopped; run the same command to continue")
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def run_study(plan: Plan, console: Terminal) -> None:
    """Check the study as a whole, then run everything that is not finished."""
    count = sum(map(len, plan.levels))
    console.say(f"comparing {count} {'row' if count == 1 else 'rows'} of {plan.study.path.stem}: checking …")
    from lm_gym.agents.compare.checks import check_rows  # loads the model libraries

    found = check_rows(plan.study, plan.levels, plan.given)
    runs = [job for rows in plan.levels for job in plan.jobs_of(rows)]
    for job in runs:
        job.check()
    searches = [_search(plan, rows) for rows in plan.levels]
    times = {settings.evaluation.times for settings in found.values()}
    evaluations = times.pop() if len(times) == 1 else None
    plan.out.mkdir(parents=True, exist_ok=True)
    total = len(runs) + sum(search.total for search in searches if search)
    done = sum(job.finished for job in runs) + sum(search.done for search in searches if search)
    progress = StudyProgress(console, plan.study.metric, evaluations and evaluations + 1, total, done)
    with _launcher(plan) as launcher, progress:
        processes = Runs(plan.out, plan.jobs, progress.started, progress.ended, progress.waiting, launcher)
        for rows, search in zip(plan.levels, searches, strict=True):
            if search:
                processes.run(search.first(), search)
                search.record()
            jobs = plan.jobs_of(rows)
            for job in jobs:
                job.check()  # more trials may have chosen other settings than those of an earlier run
            processes.run(jobs)


@contextmanager
def _launcher(plan: Plan) -> Iterator[Launcher]:
    """Yield what starts the runs: this machine, or a Ray cluster."""
    if plan.ray is None:
        yield launch
        return
    from lm_gym.agents.compare.ray_processes import RayLauncher  # needs Ray, an optional dependency

    with RayLauncher(plan.ray, plan.jobs, plan.ray_gpus) as launcher:
        yield launcher


def _search(plan: Plan, rows: Sequence[Row]) -> "Search | None":
    """Return the search of some rows, or None if there is nothing to search."""
    if not plan.trials or not any(row.search for row in rows):
        return None
    from lm_gym.agents.compare.search import Search  # needs Optuna, an optional dependency

    return Search(plan.study, plan.out, rows, plan.trials, plan.trial)


def write(plan: Plan, console: Terminal) -> None:
    """Write the results of all finished and failed runs in the study's folder."""
    from lm_gym.agents.compare.board import write_board  # needs matplotlib, an optional dependency
    from lm_gym.agents.compare.report import publish, write_report
    from lm_gym.agents.compare.results import read_results, write_results

    results = read_results(plan.study, plan.out)
    if not results.runs:
        fail(program("compare"), SettingsError(f"{plan.out} has no finished run: leave --report-only out"))
    write_results(results)
    write_board(results, write_report(results, plan.command))
    if plan.publish is not None:
        console.say(str(publish(results, plan.publish)))
    count = sum(len(runs) for runs in results.finished.values())
    failed = f", {len(results.failed)} failed" if results.failed else ""
    console.say(f"{count} {'run' if count == 1 else 'runs'}{failed}: {plan.out}/report.html")


def _shown_command(values: Any) -> str:
    """Return the command for the report, without paths of data and models, which readers have elsewhere."""
    parts = [values.study, "--seeds", str(values.seeds)]
    parts += ["--trials", str(values.trials)] if values.trials else []
    shown = f"{program('compare')} {shlex.join(parts)}"
    return shown + "".join(f" --{name} …" for name in ("dataset", "model") if getattr(values, name))


def _need(library: str, what: str, extra: str = "compare") -> None:
    if importlib.util.find_spec(library) is None:
        raise SettingsError(f"{what} {library}: pip install 'lm-gym[{extra}]'")


def _stop(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
