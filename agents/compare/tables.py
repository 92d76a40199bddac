"""The tables of a study, as rows of text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lm_gym.agents.compare.results import Results, StudyRun, tokens_per_second
from lm_gym.agents.compare.statistics import Scores, first_reach, iqm, summary
from lm_gym.agents.evaluation.report import split_of
from lm_gym.tasks.metric import metric_of

Cells = list[str]


@dataclass(frozen=True)
class Table:
    """A table: its column names, its rows, and the names of the baseline rows, which are shown pale."""

    columns: Cells
    rows: list[Cells]
    pale: frozenset[str] = frozenset()

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = ["| " + " | ".join(self.columns) + " |", "|---|" + "---:|" * (len(self.columns) - 1)]
        rows = ([cell.replace("|", "\\|") for cell in row] for row in self.rows)
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def main_table(results: Results) -> Table:
    """Return the metrics and costs of every row, below the baselines."""
    study = results.study
    metrics = [study.metric, *study.shown]
    costs = ["forward passes", "backward passes", "equivalents", "seconds", "tokens/s", "peak MiB"]
    columns = ["", *(metric_of(metric).label for metric in metrics), "at the end", "chosen pass", *costs]
    rows: list[Cells] = []
    pale = []
    for name, values in results.baselines.items():
        shown = {"untrained": "zero-shot (untrained)" if study.zero_shot else "untrained model"}
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
    """Return the score of a row with its interval, or a single number if it does not depend on the seed."""
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
    """Return 90% of the twin's gain on validation, added to its initial value (medians of its runs)."""
    if results.twin is None:
        return None
    curves = [run.curve for run in results.finished[results.twin] if run.curve is not None]
    began = float(np.median([curve.values[0] for curve in curves]))
    reached = float(np.median([results.sign * (results.sign * curve.values).max() for curve in curves]))
    return began + 0.9 * (reached - began)


def cost_table(results: Results, bound: float) -> Table:
    """Return the cost of each row until validation reaches `bound`, as medians over the runs that reach it.

    The cost of a row that starts from another row's model includes that run.
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
    """Return equivalents, seconds and MiB until a run reaches the bound, including the runs that it starts from."""
    assert run.curve is not None
    place = first_reach(results.sign * run.curve.values, results.sign * bound)
    if place is None:
        return None
    passes, seconds = float(run.curve.equivalents[place]), float(run.curve.seconds[place])
    memory = float(run.curve.peak_memory_bytes[place])
    for earlier in results.before(run):
        assert earlier.report is not None
        passes, seconds = passes + earlier.equivalents, seconds + earlier.seconds
        memory = max(memory, earlier.report["peak_memory_bytes"])
    return passes, seconds, memory / 2**20


def best_of_families(results: Results) -> dict[str, StudyRun]:
    """Return the best run of each family on validation."""
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
    """Return the split of the main table."""
    first = next(iter(results.finished.values()))[0].report
    assert first is not None
    return split_of(first)


def _number(value: float) -> str:
    if np.isnan(value):  # the row lacks this metric
        return ""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"
