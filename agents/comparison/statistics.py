"""Statistics over few seeds: interquartile mean, bootstrap intervals, probability of improvement, profiles.

Definitions are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021,
arXiv 2108.13264), and of its library rliable, for one task; the few lines stand here because rliable brings arch,
seaborn and statsmodels along. Scores are oriented: higher is better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
RESAMPLES = 2000


def iqm(scores: Scores, axis: int = -1) -> Scores:
    """Interquartile mean along an axis: the mean without the lowest and the highest quarter of the n values.

    ⌊n/4⌋ values go on each side, so that fewer than four values have their mean.
    """
    cut = scores.shape[axis] // 4
    ordered = np.sort(scores, axis=axis)
    kept = np.take(ordered, np.arange(cut, scores.shape[axis] - cut), axis=axis)
    return np.asarray(kept.mean(axis))


def resampled(scores: Scores, generator: np.random.Generator, resamples: int = RESAMPLES) -> Scores:
    """Runs drawn anew with replacement, [S, …] → [resamples, S, …]; whole runs, so that a curve stays a curve."""
    return scores[generator.integers(0, len(scores), (resamples, len(scores)))]


def iqm_interval(scores: Scores, seed: int = 0, level: float = 0.95) -> Scores:
    """Percentile bootstrap interval of the interquartile mean over runs, [S, …] → [2, …]; needs S ≥ 2."""
    _at_least_two(scores)
    return _percentiles(iqm(resampled(scores, np.random.default_rng(seed)), axis=1), level)


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """P(X > Y) + ½ P(X = Y) for one run of each, over all pairs (Mann–Whitney's U over n·m)."""
    return float(((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean())


def improvement_interval(x: Scores, y: Scores, seed: int = 0, level: float = 0.95) -> Scores:
    """Percentile bootstrap interval of the probability of improvement, the runs of each drawn for themselves: [2]."""
    _at_least_two(x)
    _at_least_two(y)
    generator = np.random.default_rng(seed)
    drawn = zip(resampled(x, generator), resampled(y, generator), strict=True)
    return _percentiles(np.array([probability_of_improvement(*pair) for pair in drawn]), level)


def performance_profile(scores: Scores, thresholds: Scores) -> Scores:
    """Part of the runs that reach each threshold, [S], [G] → [G]."""
    return np.asarray((scores[:, None] >= thresholds).mean(0))


def on_grid(x: list[Scores], y: list[Scores], points: int = 100) -> tuple[Scores, Scores]:
    """Curves at common places, between which they are straight.

    Args:
        x: where each curve was measured, ascending.
        y: what it was there.
        points: of the grid, from the last beginning to the first end.

    Returns:
        the grid [points] and the curves on it [S, points].
    """
    grid = np.linspace(max(places[0] for places in x), min(places[-1] for places in x), points)
    return grid, np.stack([np.interp(grid, places, values) for places, values in zip(x, y, strict=True)])


def first_reach(values: Scores, bound: float) -> int | None:
    """Index of the first value that is at least `bound`; None where there is none."""
    reached = np.flatnonzero(values >= bound)
    return int(reached[0]) if len(reached) else None


def summary(values: Scores, show: Callable[[float], str] = "{:.3f}".format) -> str:
    """The interquartile mean with its interval as text; one value says that it is one seed."""
    if len(values) < 2:
        return f"{show(float(values[0]))} (one seed)"
    low, high = iqm_interval(values)
    return f"{show(float(iqm(values)))} [{show(float(low))}, {show(float(high))}]"


def _percentiles(drawn: Scores, level: float) -> Scores:
    return np.asarray(np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)], axis=0))


def _at_least_two(scores: Scores) -> None:
    if len(scores) < 2:
        raise ValueError(f"an interval needs at least 2 runs, got {len(scores)}")
