"""The tables of a study, as rows of text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lm_gym.agents.comparison.results import Results, StudyRun, tokens_per_second
from lm_gym.agents.comparison.statistics import Scores, first_reach, iqm, summary
from lm_gym.agents.evaluation.report import split_of
from lm_gym.tasks.metric import metric_of

Cells = list[str]


@dataclass(frozen=True)
class Table:
    """A table: what its columns are called, its rows, and the names of those that are only there to be beaten."""

    columns: Cells
    rows: list[Cells]
    pale: frozenset[str] = frozenset()

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = ["| " + " | ".join(self.columns) + " |", "|---|" + "---:|" * (len(self.columns) - 1)]
        rows = ([cell.replace("|", "\\|") for cell in row] for row in self.rows)
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def main_table(results: Results) -> Table:
    """Every row's metrics and costs, below the rows to beat."""
    study = results.study
    metrics = [study.metric, *study.shown]
    costs = ["forward passes", "backward passes", "equivalents", "seconds", "tokens/s", "peak MiB"]
    columns = ["", *(metric_of(metric).label for metric in metrics), "at the end", "chosen pass", *costs]
    rows: list[Cells] = []
    pale = []
    for name, values in results.baselines.items():
        shown = {"untrained": "zero-shot (the model as it came)" if study.zero_shot else "untrained model"}
        pale.append(shown.get(name, name))
        cells = [_interval(values[metric]) if metric in values else "" for metric in metrics[:1]]
        cells += [_number(float(iqm(values[metric]))) if metric in values else "" for metric in metrics[1:]]
        rows.append([pale[-1], *cells, *[""] * (2 + len(costs))])
    for name, row in study.rows.items():
        title = name if row.start is None else f"{name} (from: {row.start})"
        failed = [run for run in results.failed if run.row == name]
        if name in results.finished:
            title += f" ({len(failed)} of {len(failed) + len(results.finished[name])} runs failed)" if failed else ""
            rows.append([title, *_reached(results, name, metrics)])
        elif failed:
            rows.append([title, f"failed: {failed[0].failure}", *[""] * (len(columns) - 2)])
    return Table(columns, rows, frozenset(pale))


def _reached(results: Results, row: str, metrics: list[str]) -> Cells:
    runs = results.finished[row]
    shown = [_interval(results.scores(row, metrics[0]))]
    shown += [_number(float(iqm(results.scores(row, metric)))) for metric in metrics[1:]]
    last = np.array([run.curve.values[-1] for run in runs if run.curve is not None])
    passes = ", ".join(f"{run.report['chosen']['pass']:.2f}" for run in runs if run.report is not None)
    return [*shown, _number(float(iqm(last))), passes, *_costs(runs)]


def _interval(values: Scores) -> str:
    """What runs reached, with its interval; what is the same whatever the seed, alone."""
    return _number(float(values[0])) if len(values) > 1 and (values == values[0]).all() else summary(values, _number)


def _costs(runs: list[StudyRun]) -> Cells:
    reports = [run.report for run in runs if run.report is not None]
    counts = [np.mean([report[key] for report in reports]) for key in ("forward_passes", "backward_passes")]
    seconds = np.median([report["seconds"] for report in reports])
    speed = np.median([tokens_per_second(report) for report in reports])
    memory = np.median([report["peak_memory_bytes"] for report in reports]) / 2**20
    numbers = [*counts, np.mean([run.equivalents for run in runs]), seconds, speed, memory]
    return [f"{number:,.0f}" for number in numbers]


def goal(results: Results) -> float | None:
    """90% of the way from where the twin began to what it reached on validation (medians of its runs)."""
    if results.twin is None:
        return None
    curves = [run.curve for run in results.finished[results.twin] if run.curve is not None]
    began = float(np.median([curve.values[0] for curve in curves]))
    reached = float(np.median([results.sign * (results.sign * curve.values).max() for curve in curves]))
    return began + 0.9 * (reached - began)


def cost_table(results: Results, bound: float) -> Table:
    """What each row spends until validation reaches `bound`: medians over the runs that do.

    A row that begins from another row's model pays for that run too.
    """
    rows = []
    for name, runs in results.finished.items():
        spent = [_until(results, run, bound) for run in runs]
        done = [costs for costs in spent if costs is not None]
        if done:
            passes, seconds, memory = np.median(np.array(done), axis=0)
            cells = [f"{passes:,.0f}", f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}", f"{memory:,.0f}"]
        else:
            best = max((results.sign * run.curve.values).max() for run in runs if run.curve is not None)
            cells = [f"not reached (best {_number(results.sign * float(best))})", "", ""]
        rows.append([name, f"{len(done)} of {len(runs)}", *cells])
    return Table(["", "runs that reach it", "equivalents", "seconds", "peak MiB"], rows)


def _until(results: Results, run: StudyRun, bound: float) -> tuple[float, float, float] | None:
    """Equivalents, seconds and MiB until a run reaches the bound, with those of the run that it begins from."""
    assert run.curve is not None
    place = first_reach(results.sign * run.curve.values, results.sign * bound)
    if place is None:
        return None
    passes, seconds = float(run.curve.equivalents[place]), float(run.curve.seconds[place])
    memory = float(run.curve.peak_memory_bytes[place])
    for earlier in results.before(run.row):
        assert earlier.report is not None
        passes, seconds = passes + earlier.equivalents, seconds + earlier.seconds
        memory = max(memory, earlier.report["peak_memory_bytes"])
    return passes, seconds, memory / 2**20


def best_of_families(results: Results) -> dict[str, StudyRun]:
    """The run of each family that is best on validation."""
    found: dict[str, StudyRun] = {}
    metric, sign = results.study.metric, results.sign

    def value(run: StudyRun) -> float:
        assert run.report is not None
        return sign * float(run.report["metrics"]["validation"][metric])

    for run in (run for runs in results.finished.values() for run in runs):
        if run.family not in found or value(run) > value(found[run.family]):
            found[run.family] = run
    return found


def split_shown(results: Results) -> str:
    """The split of the main table."""
    first = next(iter(results.finished.values()))[0].report
    assert first is not None
    return split_of(first)


def _number(value: float) -> str:
    if np.isnan(value):  # a metric that this row has not
        return ""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"
