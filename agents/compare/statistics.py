"""Statistics over few seeds: interquartile mean, bootstrap intervals, probability of improvement, profiles.

Definitions follow Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021, arXiv
2108.13264), and their library rliable, for one task. They are implemented here because rliable depends on arch, seaborn
and statsmodels. Scores are oriented: higher is better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
RESAMPLES = 2000


def iqm(scores: Scores, axis: int = -1) -> Scores:
    """Return the interquartile mean along an axis: the mean without the lowest and highest quarter of the n values.

    ⌊n/4⌋ values are dropped on each side, so that fewer than four values give their mean.
    """
    cut = scores.shape[axis] // 4
    ordered = np.sort(scores, axis=axis)
    kept = np.take(ordered, np.arange(cut, scores.shape[axis] - cut), axis=axis)
    return np.asarray(kept.mean(axis))


def resampled(scores: Scores, generator: np.random.Generator, resamples: int = RESAMPLES) -> Scores:
    """Resample whole runs with replacement, [S, …] → [resamples, S, …]."""
    return scores[generator.integers(0, len(scores), (resamples, len(scores)))]


def iqm_interval(scores: Scores, seed: int = 0, level: float = 0.95) -> Scores:
    """Return the percentile bootstrap interval of the interquartile mean over runs, [S, …] → [2, …]; needs S ≥ 2."""
    _at_least_two(scores)
    return _percentiles(iqm(resampled(scores, np.random.default_rng(seed)), axis=1), level)


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """Return P(X > Y) + ½ P(X = Y) over all pairs of runs (Mann–Whitney's U divided by n·m)."""
    return float(((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean())


def improvement_interval(x: Scores, y: Scores, seed: int = 0, level: float = 0.95) -> Scores:
    """Return the percentile bootstrap interval of the probability of improvement, [2]; resamples x and y separately."""
    _at_least_two(x)
    _at_least_two(y)
    generator = np.random.default_rng(seed)
    drawn = zip(resampled(x, generator), resampled(y, generator), strict=True)
    return _percentiles(np.array([probability_of_improvement(*pair) for pair in drawn]), level)


def performance_profile(scores: Scores, thresholds: Scores) -> Scores:
    """Return the fraction of runs that reach each threshold, [S], [G] → [G]."""
    return np.asarray((scores[:, None] >= thresholds).mean(0))


def on_grid(x: list[Scores], y: list[Scores], points: int = 100) -> tuple[Scores, Scores]:
    """Interpolate curves linearly on a common grid, from the last start to the first end.

    Args:
        x: ascending places where each curve was measured.
        y: values of each curve there.
        points: number of points of the grid.

    Returns:
        The grid [points] and the curves on it [S, points].
    """
    grid = np.linspace(max(places[0] for places in x), min(places[-1] for places in x), points)
    return grid, np.stack([np.interp(grid, places, values) for places, values in zip(x, y, strict=True)])


def first_reach(values: Scores, bound: float) -> int | None:
    """Return the index of the first value that is at least `bound`, or None."""
    reached = np.flatnonzero(values >= bound)
    return int(reached[0]) if len(reached) else None


def summary(values: Scores, show: Callable[[float], str] = "{:.3f}".format) -> str:
    """Return the interquartile mean and its interval as text, or a single value marked as one seed."""
    if len(values) < 2:
        return f"{show(float(values[0]))} (one seed)"
    low, high = iqm_interval(values)
    return f"{show(float(iqm(values)))} [{show(float(low))}, {show(float(high))}]"


def _percentiles(drawn: Scores, level: float) -> Scores:
    return np.asarray(np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)], axis=0))


def _at_least_two(scores: Scores) -> None:
    if len(scores) < 2:
        raise ValueError(f"an interval needs at least 2 runs, got {len(scores)}")
