"""The page of results of `benchmarks.unmasking`."""

from collections.abc import Mapping, Sequence

import numpy as np

Rows = Mapping[str, Sequence[Mapping[str, float]]]

HEAD = """# Unmasking: orders, steps and likelihoods

    python -m benchmarks.unmasking --out runs/unmasking --page docs/results/unmasking_orders.md

This command wrote the page from the rows that have finished ({seeds}). Numbers are means over seeds, with the standard
deviation after ± if there are several.
"""

ORDERS = """## {title}: decoding orders

A BERT of two layers, width {width}, is trained from scratch by the [supervised twin](../algorithms/unmasking.md) as a
masked-diffusion model, {timesteps:,} cells. It decodes the test puzzles with its most probable tokens, in every order;
"0.9 sure" fills one cell per step, and all cells of a probability of at least 0.9. The oracle, which no policy can be,
fills all cells whose most probable token is right, so it shows what the order alone could gain. The learned rows decide
at each step which cells are filled, by a head of 32 hidden units on the same model, whose weights are frozen except in
the last row. They learn from the reward `rule`, less the cost of each step: REINFORCE from groups of eight rows, PPO
(Stable-Baselines3's) with its critic, ES with 16 members. The policy's temperature while it learns is 0.25.
"""

GAINS = """Solved puzzles of the learned rows, in points above an order that takes as many steps (each seed's results,
interpolated between its numbers of cells per step):
"""

PROSE = """## Prose: how few steps cost how much

`tiny` fills half of the tokens of 128 validation texts of at most 48 tokens (`builtin/masked_lm`). Perplexity is that
of the true tokens at the step that filled their positions.
"""

LIKELIHOODS = """## What each likelihood learns

REINFORCE with each [likelihood](../algorithms/unmasking.md), from a reward of 1 for each right cell: all weights,
learning rate 1e-4, from a Sudoku model trained for 30% of the twin's budget; random order, two cells per step, 200,000
cells, groups of eight rows.
"""

GRADIENTS = """## Bias and variance of the likelihoods

For Sudoku grids with four masked cells, filled from left to right by the twin's model, all endings and all sets of
masks are enumerated. The bias is the distance between an estimate's expectation and the exact gradient of the expected
reward, and the deviation is the root of the variance of one sampled text; both in units of the norm of the exact
gradient. The baseline is the expected reward.
"""


def page(results: Mapping[str, Rows], seeds: Sequence[int]) -> str:
    """Return the page of the results, by part and row; parts without results are left out."""
    parts = [HEAD.format(seeds=f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")]
    for puzzle, title, width, timesteps in (("sudoku", "Sudoku", 48, 1_100_000), ("arithmetic", "Sums", 64, 800_000)):
        if puzzle in results:
            rows = results[puzzle]
            parts += [ORDERS.format(title=title, width=width, timesteps=timesteps), _orders(rows), *_gains(rows)]
    if "prose" in results:
        parts += [PROSE, _prose(results["prose"])]
    if "likelihoods" in results:
        parts += [LIKELIHOODS, _learned(results["likelihoods"])]
    if "gradients" in results:
        parts += [GRADIENTS, _gradients(results["gradients"])]
    return "\n".join(parts)


def _mean(found: Sequence[Mapping[str, float]], metric: str) -> float:
    return float(np.mean([one[metric] for one in found]))


def _spread(found: Sequence[Mapping[str, float]], metric: str) -> str:
    spread = f" ± {np.std([one[metric] for one in found]):.3f}" if len(found) > 1 else ""
    return f"{_mean(found, metric):.3f}{spread}"


def _orders(rows: Rows) -> str:
    lines = ["| order | per step | steps | solved | by seed | cells right |", "|---|---:|---:|---:|---:|---:|"]
    for name, found in rows.items():
        order, _, count = name.partition(" | ")
        seeds = " / ".join(f"{one['valid']:.3f}" for one in found)
        steps, right = _mean(found, "steps"), _mean(found, "accuracy")
        lines.append(f"| {order} | {count} | {steps:.1f} | {_spread(found, 'valid')} | {seeds} | {right:.3f} |")
    return "\n".join(lines) + "\n"


def _gains(rows: Rows) -> list[str]:
    """Return a table of the gains of learned rows over random and confidence order at equal steps."""
    learned = [name for name in rows if "cost" in name]
    if not learned:
        return []
    lines = ["| row | steps | above random | above confidence | above confidence with a threshold |"]
    lines.append("|---|---:|---:|---:|---:|")
    for name in learned:
        gains = [_above(rows, name, *by) for by in (("random", False), ("confidence", False), ("confidence", True))]
        told = " | ".join("" if gain is None else f"{100 * gain:+.1f}" for gain in gains)
        lines.append(f"| {name.replace(' |', ',')} | {_mean(rows[name], 'steps'):.1f} | {told} |")
    return [GAINS, "\n".join(lines) + "\n"]


def _above(rows: Rows, name: str, order: str, threshold: bool) -> float | None:
    """Return the mean gain in solved puzzles over an order at as many steps, or None if a seed has too few points."""
    curve = [found for row, found in rows.items() if row.startswith(f"{order} |") and ("sure" in row) == threshold]
    gains = []
    for seed, one in enumerate(rows[name]):
        points = sorted((found[seed]["steps"], found[seed]["valid"]) for found in curve if seed < len(found))
        if len(points) < 2:
            return None
        steps, solved = zip(*points, strict=True)
        gains.append(one["valid"] - float(np.interp(one["steps"], steps, solved)))
    return float(np.mean(gains))


def _prose(rows: Rows) -> str:
    lines = ["| order | per step | steps | accuracy | perplexity |", "|---|---:|---:|---:|---:|"]
    for name, found in rows.items():
        order, _, count = name.partition(" | ")
        numbers = (_mean(found, "steps"), _mean(found, "accuracy"), _mean(found, "perplexity"))
        lines.append(f"| {order} | {count} | {numbers[0]:.1f} | {numbers[1]:.3f} | {numbers[2]:.1f} |")
    return "\n".join(lines) + "\n"


def _learned(rows: Rows) -> str:
    lines = ["| likelihood | solved | cells right |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {_spread(found, 'valid')} | {_mean(found, 'accuracy'):.3f} |" for name, found in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _gradients(rows: Rows) -> str:
    lines = ["| likelihood | bias | cosine | deviation |", "|---|---:|---:|---:|"]
    for name, found in rows.items():
        lines.append("| " + " | ".join([name, *(_spread(found, m) for m in ("bias", "cosine", "deviation"))]) + " |")
    return "\n".join(lines) + "\n"
