"""The charts of a study as matplotlib figures, in the colours of Okabe and Ito, with names next to the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lm_gym.agents.compare.results import Results
from lm_gym.agents.compare.statistics import (
    improvement_interval,
    iqm,
    iqm_interval,
    on_grid,
    performance_profile,
    probability_of_improvement,
)
from lm_gym.agents.evaluation.report import split_of
from lm_gym.tasks.metric import metric_of

# Okabe & Ito (2008), distinguishable with any colour vision; without yellow, which is invisible on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))  # type: ignore[assignment]
INK, PALE = "#222222", "#8a8a8a"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "svg.fonttype": "path",
    "svg.hashsalt": "lm-gym",
}


def charts(results: Results) -> dict[str, Figure]:
    """Return the charts of the finished runs by name."""
    if not results.finished:
        return {}
    with mpl.rc_context(STYLE):
        found = {
            "scores": _scores(results),
            "equivalents": _curves(results, "equivalents", "forward-pass equivalents"),
            "seconds": _curves(results, "seconds", "seconds of training"),
            "profile": _profile(results),
        }
        if results.twin is not None and len(results.finished) > 1:
            found["improvement"] = _improvement(results, results.twin)
    return found


def _look(results: Results, row: str) -> tuple[str, str | tuple[int, tuple[int, ...]]]:
    """Return the colour and dash of a row, the same in every chart; the twin is black."""
    if row == results.twin:
        return "#000000", "solid"
    others = [name for name in results.study.rows if name != results.twin]
    place = others.index(row)
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def _name(metric: str) -> str:
    return {"cross_entropy": "cross-entropy", "token_accuracy": "token accuracy"}.get(metric, metric_of(metric).label)


def _panel(height: float, title: str, names: Sequence[str], *, before: bool = False) -> tuple[Figure, Axes]:
    """Return a figure with room for the names of rows, to the right of the axes or to the left."""
    room = 0.045 + 0.0083 * max(map(len, names))  # fraction of the width, for letters of 9.5 to 11 points
    left, right = (min(0.5, room), 0.96) if before else (0.09, max(0.5, 0.97 - room))
    figure = Figure(figsize=(9.0, height), dpi=150, facecolor="white")
    figure.subplots_adjust(left=left, right=right, top=1 - 0.5 / height, bottom=0.62 / height)
    axes = figure.add_subplot()
    axes.set_title(title, pad=10)
    return figure, axes


def _scores(results: Results) -> Figure:
    """Draw the interquartile mean and interval of each row, with runs as dots and baselines as lines."""
    metric, rows = results.study.metric, list(results.finished)
    height = 1.5 + 0.42 * len(rows)
    figure, axes = _panel(height, f"{_name(metric)} on {split_of(_report(results))}", rows, before=True)
    for y, row in enumerate(rows):
        scores, (colour, _) = results.scores(row), _look(results, row)
        if len(scores) > 1:
            axes.plot(iqm_interval(scores), [y, y], color=colour, lw=7, alpha=0.28, solid_capstyle="round")
        axes.plot(scores, np.full(len(scores), y), "o", color=colour, ms=4, alpha=0.55, mew=0)
        middle = float(iqm(scores))
        axes.plot([middle], [y], "o", color=colour, ms=9, mec="white", mew=1.2)
        axes.annotate(
            f"{middle:.3f}", (middle, y), (0, 8), textcoords="offset points", ha="center", fontsize=9, color=INK
        )
    marks = baselines(results)
    for _, value in marks:
        axes.axvline(value, color=PALE, lw=1, ls=(0, (2, 2)), zorder=0)
    low, high = axes.get_xlim()
    for line, (names, value) in enumerate(_groups(marks, 0.03 * (high - low))):
        beside = value - low < 0.7 * (high - low)  # room on the right
        axes.annotate(
            names, (value, -0.75), (4 if beside else -4, -11 * line), textcoords="offset points", fontsize=8,
            color="#666666", va="top", ha="left" if beside else "right",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(rows) - 0.4, -0.85)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("interquartile mean, 95% bootstrap interval, one dot per seed", fontsize=9.5)
    return figure


def _groups(marks: Sequence[tuple[str, float]], near: float) -> list[tuple[str, float]]:
    """Return names and values in ascending order; values within `near` of the previous one share a label."""
    groups: list[tuple[str, float]] = []
    for name, value in sorted(marks, key=lambda mark: mark[1]):
        if groups and value - groups[-1][1] < near:
            groups[-1] = (f"{groups[-1][0]}, {name}", value)
        else:
            groups.append((name, value))
    return groups


def _report(results: Results) -> Mapping[str, Any]:
    """Return the report of one run; all have the same splits."""
    report = next(iter(results.finished.values()))[0].report
    assert report is not None
    return report


def baselines(results: Results) -> list[tuple[str, float]]:
    """Return the baselines that have the study's metric, and its values."""
    metric = results.study.metric
    names = {"untrained": "zero-shot" if results.study.zero_shot else "untrained"}
    rows = results.baselines.items()
    return [(names.get(name, name), float(iqm(values[metric]))) for name, values in rows if metric in values]


def _curves(results: Results, cost: Literal["equivalents", "seconds"], label: str) -> Figure:
    """Draw the metric on validation over costs: interquartile mean and interval over the seeds.

    The curve of a row that starts from another row's model starts where that run ended.
    """
    figure, axes = _panel(4.6, f"{_name(results.study.metric)} on validation while training", list(results.finished))
    ends = []
    longest = 0.0
    for row, runs in results.finished.items():
        drawn = [(run, run.curve) for run in runs if run.curve is not None and len(run.curve.values) > 1]
        if not drawn:
            continue
        colour, dash = _look(results, row)
        costs = [
            getattr(curve, cost) + sum(getattr(earlier, cost) for earlier in results.before(run))
            for run, curve in drawn
        ]
        grid, values = on_grid(costs, [curve.values for _, curve in drawn])
        middle = iqm(values, axis=0)
        axes.plot(grid, middle, color=colour, ls=dash, lw=2.0, zorder=4 if row == results.twin else 3)
        if len(drawn) > 1:
            low, high = iqm_interval(values)
            axes.fill_between(grid, low, high, color=colour, alpha=0.15, lw=0)
        ends.append((row, float(grid[-1]), float(middle[-1]), colour))
        longest = max(longest, float(grid[-1]))
    shortest = min((end for _, end, _, _ in ends), default=1.0)
    if shortest > 0 and longest > 6 * shortest:
        axes.set_xscale("symlog", linthresh=shortest / 2, linscale=0.5)
        axes.set_xlim(0, longest)
        ticks = [tick for power in range(8) for tick in (10**power, 3 * 10**power) if shortest / 2 < tick <= longest]
        axes.set_xticks([0, *ticks])
    else:
        axes.set_xlim(0, longest or 1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.set_xlabel(label)
    _label_ends(axes, ends)
    return figure


def _short(value: float, _place: object = None) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write names next to the ends of lines, in the same colours, moved apart so that they do not overlap."""
    low, high = axes.get_ylim()
    placed = _apart([(y - low) / (high - low) for _, _, y, _ in ends], 0.062)
    for (row, x, y, colour), fraction in zip(ends, placed, strict=True):
        axes.annotate(
            row,
            (x, y),
            (1.035, fraction),
            textcoords="axes fraction",
            color=colour,
            fontsize=9.5,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 0.7,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 1,
                "relpos": (0, 0.5),
            },
        )


def _apart(wanted: Sequence[float], least: float) -> list[float]:
    """Move numbers at least `least` apart, close to their old values, in the same order, within [0, 1] if they fit."""
    order = np.argsort(wanted)
    placed = np.array(wanted, np.float64)[order]
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + least)
    if len(placed) and placed[-1] > 1.0:
        placed[-1] = 1.0
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = min(placed[i], placed[i + 1] - least)
    found = np.empty(len(placed))
    found[order] = placed
    return found.tolist()


def _profile(results: Results) -> Figure:
    """Draw the fraction of each row's runs that reach a threshold."""
    metric, sign = results.study.metric, results.sign
    figure, axes = _panel(4.2, f"Performance profile on {split_of(_report(results))}", list(results.finished))
    every = np.concatenate([sign * results.scores(row) for row in results.finished])
    margin = 0.08 * (every.max() - every.min()) or 0.01
    grid = np.linspace(every.min() - margin, every.max() + margin, 400)
    labels = []
    for row in results.finished:
        colour, dash = _look(results, row)
        scores = sign * results.scores(row)
        axes.step(sign * grid, performance_profile(scores, grid), where="mid", color=colour, ls=dash, lw=2.0)
        labels.append((row, float(np.median(scores)), colour))
    labels.sort(key=lambda label: label[1])
    gap = min(0.075, 0.95 / len(labels))
    for place, (row, _, colour) in enumerate(labels):  # the best row on top
        y = 0.5 + gap * (place - (len(labels) - 1) / 2)
        _, dash = _look(results, row)
        axes.plot([1.02, 1.055], [y, y], transform=axes.transAxes, color=colour, ls=dash, lw=2.0, clip_on=False)
        axes.annotate(row, (1.065, y), xycoords="axes fraction", color=colour, fontsize=9.5, va="center")
    if sign < 0:
        axes.invert_xaxis()
    axes.set_ylim(-0.02, 1.04)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_xlabel(f"{_name(metric)} threshold")
    axes.set_ylabel("runs that reach it")
    return figure


def _improvement(results: Results, twin: str) -> Figure:
    """Draw the probability that a run of a row is better than a run of the twin."""
    rows = [row for row in results.finished if row != twin]
    reference = results.sign * results.scores(twin)
    height = 1.4 + 0.4 * len(rows)
    figure, axes = _panel(height, f"Probability of being better than {twin}", rows, before=True)
    axes.axvline(0.5, color=PALE, lw=1.2)
    for y, row in enumerate(rows):
        colour, _ = _look(results, row)
        scores = results.sign * results.scores(row)
        if len(scores) > 1 and len(reference) > 1:
            axes.plot(
                improvement_interval(scores, reference), [y, y], color=colour, lw=7, alpha=0.28, solid_capstyle="round"
            )
        middle = probability_of_improvement(scores, reference)
        axes.plot([middle], [y], "o", color=colour, ms=9, mec="white", mew=1.2)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.03, 1.03)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("over all pairs of runs, 95% bootstrap interval", fontsize=9.5)
    return figure
