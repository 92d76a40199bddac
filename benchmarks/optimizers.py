"""Results and costs of lm_gym.agents.search.optimizers, compared with other libraries in one run.

    python benchmarks/optimizers.py quality bits overhead --write docs/results/optimizers.md

`quality` and `bits` minimise test functions; the rows of other libraries need `pip install lm-gym[parity]`. `overhead`
times generations without evaluation; `--reference FILE` names plain-torch classes to compare with.

Expected: within a factor of 2 in f of the best library's implementation of the same algorithm, or both under 1e-8;
OneMax and LeadingOnes of 100 bits in no more than 2,100 and 11,400 evaluations; overhead within 1.3 of the reference.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch as th
from optimizer_peers import BOX, PEERS, SIGMA

from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.population.domain import Domain

Function = Callable[[np.ndarray], np.ndarray]
BOXED = {"spread": BOX, "bound": BOX, "reevaluate": False}
OURS: dict[str, tuple[str, dict[str, Any]]] = {  # row: optimizer, options; the test functions have no noise
    "es": ("es", {"popsize": 40, "sigma": 0.1, "learning_rate": 0.05}),
    "snes": ("snes", {"sigma": SIGMA}),
    "sep_cma_es": ("sep_cma_es", {"sigma": SIGMA}),
    "cma_es": ("cma_es", {"sigma": SIGMA}),
    "pso": ("pso", BOXED | {"popsize": 25}),
    "pso, constriction, ring": ("pso", BOXED | {"popsize": 25, "inertia": "constriction", "neighbourhood": "ring"}),
    "ga": ("ga", {"spread": BOX, "reevaluate": False, "popsize": 40, "mutation_step": 3.0}),
    "ga, SBX": ("ga", {"spread": BOX, "reevaluate": False, "popsize": 40, "mutation_step": 3.0, "crossover": "sbx"}),
    "de, current-to-pbest (JADE)": ("de", BOXED | {"popsize": 40}),
    "de, rand/1/bin": ("de", BOXED | {"popsize": 40, "variant": "rand/1/bin"}),
    "de, best/1/bin": ("de", BOXED | {"popsize": 40, "variant": "best/1/bin"}),
    "sa": ("sa", {"reevaluate": False}),
    "random_search": ("random_search", {"sigma": SIGMA, "reevaluate": False}),
}


def functions(d: int, seed: int) -> dict[str, Function]:
    """Return test functions with an optimum of 0 at a random place."""
    draw = np.random.default_rng([seed, d])
    best, weights = draw.uniform(-2, 2, d), 10 ** (6 * np.arange(d) / (d - 1))

    def rosenbrock(x: np.ndarray) -> np.ndarray:
        z = x - best + 1
        return (100 * (z[:, 1:] - z[:, :-1] ** 2) ** 2 + (1 - z[:, :-1]) ** 2).sum(1)

    return {
        "sphere": lambda x: ((x - best) ** 2).sum(1),
        "Rosenbrock": rosenbrock,
        "Rastrigin": lambda x: ((x - best) ** 2 - 10 * np.cos(2 * np.pi * (x - best)) + 10).sum(1),
        "ellipsoid": lambda x: (weights * (x - best) ** 2).sum(1),
    }


def ours(row: str, d: int, x0: np.ndarray, seed: int) -> Iterator[Any]:
    """Wrap one of our optimizers like the peers: it yields points and receives costs."""
    name, options = OURS[row]
    start = th.zeros(d, dtype=th.float64) if name in ("pso", "ga", "de") else th.as_tensor(x0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer: Any = OPTIMIZERS[name](start, seed=seed, **options)
    while True:
        costs = yield optimizer.ask().vectors().numpy()
        optimizer.tell(-th.as_tensor(costs))


def best_of(search: Any, function: Function, evaluations: int) -> float:
    """Return the lowest cost within a number of evaluations."""
    best, count, points = math.inf, 0, next(search)
    while count < evaluations:
        costs = function(np.asarray(points, dtype=np.float64))
        best = min(best, costs[: evaluations - count].min())
        count += len(costs)
        try:
            points = search.send(costs)
        except StopIteration:  # it has converged by its own criterion
            break
    search.close()
    return float(best)


def quality(dims: list[int], seeds: int, evaluations: int, only: list[str]) -> list[str]:
    names = list(functions(2, 0))
    lines = [f"## Test functions: median of {seeds} seeds of the best f after {evaluations:,} evaluations", ""]
    for d in dims:
        lines += [f"| d = {d} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for row, (name, _) in OURS.items():
            if only and name not in only:
                continue
            found = {row: medians(partial(ours, row), d, seeds, evaluations)}
            for peer, make in PEERS.get(name, {}).items() if row == name or row.startswith("de, current") else []:
                found[peer] = medians(make, d, seeds, evaluations)
            for label, values in found.items():
                title = f"**{label}**" if label == row else f"… {label}"
                lines.append(f"| {title} | {' | '.join(f'{v:.2g}' for v in values)} |")
                print(lines[-1], flush=True)
        lines.append("")
    return lines


def medians(make: Callable[..., Any], d: int, seeds: int, evaluations: int) -> list[float]:
    results = []
    for name in functions(2, 0):
        found = []
        for seed in range(seeds):
            x0 = np.random.default_rng([seed, d, 1]).uniform(-BOX, BOX, d)
            found.append(best_of(make(d, x0, seed), functions(d, seed)[name], evaluations))
        results.append(statistics.median(found))
    return results


BITS: dict[str, tuple[str, dict[str, Any]]] = {
    "ga, tournament, single point": ("ga", {"selection": "tournament", "crossover": "single_point", "popsize": 16}),
    "ga, roulette, single point": ("ga", {"selection": "roulette", "crossover": "single_point", "popsize": 16}),
    "ga, tournament, uniform": ("ga", {"popsize": 16}),
    "ga, elites evaluated again": ("ga", {"reevaluate": True, "popsize": 16}),
    "sa, one chain": ("sa", {"popsize": 1}),
    "pso (binary)": ("pso", {"popsize": 20}),
}


def bits(seeds: int, limit: int, d: int = 100) -> list[str]:
    problems = {"OneMax": lambda x: x.sum(1), "LeadingOnes": lambda x: x.long().cumprod(1).sum(1)}
    lines = [
        f"## {d} bits: median of {seeds} seeds of the evaluations until solved, at most {limit:,}",
        "",
        "16 members of GA, 20 of PSO.",
        "",
        f"| | {' | '.join(problems)} |",
        "|---|---:|---:|",
    ]
    for row, (name, options) in BITS.items():
        cells = []
        for function in problems.values():
            needed = []
            for seed in range(seeds):
                start = th.rand(d, generator=th.Generator().manual_seed(seed)) < 0.5
                settings = {"reevaluate": False} | options
                settings |= {} if name == "sa" else {"spread": 1.0}
                optimizer: Any = OPTIMIZERS[name](start, Domain("binary", d, 2), seed=seed, **settings)
                needed.append(solved_after(optimizer, function, d, limit))
            median = statistics.median(needed)
            cells.append(
                f"{median:,.0f}" if median < math.inf else f"more ({sum(n < math.inf for n in needed)} solved)"
            )
        lines.append(f"| {row} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


def solved_after(optimizer: Any, function: Callable[[th.Tensor], th.Tensor], best: int, limit: int) -> float:
    while optimizer.evaluations < limit:
        fitness = function(optimizer.ask().vectors())
        if int(fitness.max()) == best:
            return optimizer.evaluations + int(fitness.argmax()) + 1
        optimizer.tell(fitness.double())
    return math.inf


TIMED: dict[str, tuple[str, dict[str, Any], Callable[[ModuleType, th.Tensor], Any]]] = {
    "es": ("es", {}, lambda m, x: m.OpenAIES(x, 32)),
    "snes": ("snes", {}, lambda m, x: m.SNES(x, 32)),
    "sep_cma_es": ("sep_cma_es", {}, lambda m, x: m.SepCMA(x, 32)),
    "pso": ("pso", {"inertia": "constriction", "bound": 5.0}, lambda m, x: m.PSO(x - 5, x + 5, 32)),
    "pso, adaptive": ("pso", {"bound": 5.0}, lambda m, x: m.PSO(x - 5, x + 5, 32)),
    "ga": ("ga", {"crossover": "single_point"}, lambda m, x: m.GA(x - 5, x + 5, 32)),
    "ga, uniform": ("ga", {}, lambda m, x: m.GA(x - 5, x + 5, 32)),
    "de": ("de", {"variant": "rand/1/bin", "bound": 5.0, "adaptive": False}, lambda m, x: m.DE(x - 5, x + 5, 32)),
    "de, JADE": ("de", {"bound": 5.0}, lambda m, x: m.DE(x - 5, x + 5, 32)),
    "sa": ("sa", {}, lambda m, x: m.SA(x, 32)),
    "random_search": ("random_search", {}, lambda m, x: None),
}


def overhead(dims: list[int], reference: ModuleType | None, only: list[str]) -> list[str]:
    lines = [
        "## Overhead of a generation of 32 members without evaluation, in draws of `torch.randn(32, d)`",
        "",
        f"| | {' | '.join(f'd = {d:,}' for d in dims)} |",
        "|---" * (len(dims) + 1) + "|",
    ]
    rows: dict[str, list[str]] = {}
    for d in dims:
        x, repeats = th.zeros(d), max(5, min(300, 3_000_000 // d))
        unit = th.Generator().manual_seed(0)
        for row, (name, options, make) in TIMED.items():
            if only and name not in only:
                continue
            settings = dict(options) | ({} if name in ("es", "snes", "sep_cma_es") else {"reevaluate": False})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mine: Any = OPTIMIZERS[name](x, popsize=32, **settings)
            timed = {
                "unit": partial(th.randn, 32, d, generator=unit),
                "mine": lambda mine=mine: mine.tell(spread(mine.ask().vectors()).double()),
            }
            other = make(reference, x.clone()) if reference is not None else None
            if other is not None:
                timed["other"] = lambda other=other: other.tell(-spread(other.ask()))
            seconds = turn_about(timed, repeats)
            cell = f"{ratio(seconds, 'unit'):.2f}"
            if other is not None:
                cell += f" ({ratio(seconds, 'other'):.2f}×)"
            rows.setdefault(row, []).append(cell)
            print(f"d = {d:9,} {row:16} {cell}   {1e3 * statistics.median(seconds['mine']):.3f} ms", flush=True)
    lines += [f"| {row} | {' | '.join(cells)} |" for row, cells in rows.items()]
    if reference is not None:
        lines += [
            "",
            "In brackets: relative to plain-torch classes (`--reference`) without checks, ties, states or keyed "
            "generators.",
            "These have single-point crossover, rand/1/bin, fixed inertia and no negative weights;",
            "`ga, uniform`, `de, JADE`, `pso, adaptive` and `sep_cma_es` do more.",
        ]
    return [*lines, ""]


def spread(x: th.Tensor) -> th.Tensor:
    """Return a fitness that costs almost nothing, [P]."""
    return -x[:, :8].square().sum(1)


def turn_about(timed: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return CPU seconds of each, measured in turn under the same conditions."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(repeats + 2):
        for name, run in timed.items():
            start = time.process_time()
            run()
            if number >= 2:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], other: str) -> float:
    """Return the median ratio of ours to another over the turns."""
    return statistics.median(a / b for a, b in zip(seconds["mine"], seconds[other], strict=True))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["quality", "bits", "overhead"])
    parser.add_argument("--only", nargs="*", default=[], help="names in OPTIMIZERS")
    parser.add_argument("--dims", nargs="*", type=int, help="20 100 for quality, 1000 100000 1000000 for overhead")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=20_000)
    parser.add_argument("--reference", type=Path, help="a file of plain-torch classes, for overhead")
    parser.add_argument("--write", type=Path, help="a Markdown file in which to replace the sections of these parts")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    for part in arguments.parts:
        if part == "quality":
            lines = quality(arguments.dims or [20, 100], arguments.seeds, arguments.evaluations, arguments.only)
        elif part == "bits":
            lines = bits(arguments.seeds, arguments.evaluations)
        else:
            reference = load(arguments.reference) if arguments.reference else None
            lines = overhead(arguments.dims or [1_000, 100_000, 1_000_000], reference, arguments.only)
        if arguments.write:
            write(arguments.write, [lines[0], "", f"`python benchmarks/optimizers.py {part}`", *lines[1:]])


def write(path: Path, lines: list[str]) -> None:
    """Write a section to a file, replacing the one whose title begins with the same words."""
    old = path.read_text(encoding="utf-8") if path.exists() else "# Optimizers\n\nOn one thread of a shared machine.\n"
    head, *sections = old.split("\n## ")
    new = "\n".join(lines).strip().removeprefix("## ")
    kept = [section.strip() for section in sections if section.split()[:2] != new.split()[:2]]
    path.write_text("\n\n## ".join([head.strip(), *kept, new]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
