"""Optimizers of other libraries as generators, which yield points [P, d] and receive costs [P]; lower is better.

Each uses its own defaults, except for the settings that ours also receive: the start of the search, the initial step
size, the box, and the population size of methods without a rule for it.
"""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Callable, Generator
from queue import Queue

import numpy as np

Search = Generator[np.ndarray, np.ndarray, None]
SIGMA, BOX = 2.0, 5.0


def cma(d: int, x0: np.ndarray, seed: int, **options: object) -> Search:
    import cma

    options |= {"verbose": -9, "seed": seed + 1, "verb_log": 0, "maxiter": math.inf}
    strategy = cma.CMAEvolutionStrategy(x0, SIGMA, options)
    while not strategy.stop():
        x = strategy.ask()
        strategy.tell(x, list((yield np.asarray(x))))


def evotorch(kind: str, d: int, x0: np.ndarray, seed: int, **options: object) -> Search:
    """Run a search that calls its problem in a thread, which waits for the costs."""
    import torch
    from evotorch import Problem, algorithms, operators

    logging.disable(logging.INFO)
    points: Queue[np.ndarray] = Queue()
    costs: Queue[np.ndarray | None] = Queue()

    class StopError(Exception):
        pass

    def evaluate(x: torch.Tensor) -> torch.Tensor:
        points.put(x.detach().double().numpy())
        told = costs.get()
        if told is None:
            raise StopError
        return torch.as_tensor(told, dtype=torch.float32)

    def run() -> None:
        problem = Problem(
            "min", evaluate, solution_length=d, initial_bounds=(-BOX, BOX), vectorized=True, dtype=torch.float32,
            seed=seed + 1,
        )  # fmt: skip
        if kind == "GeneticAlgorithm":
            steps = [
                operators.OnePointCrossOver(problem, tournament_size=3),
                operators.GaussianMutation(problem, stdev=0.1),
            ]
            search = algorithms.GeneticAlgorithm(problem, operators=steps, **options)
        else:
            centre = torch.as_tensor(x0, dtype=torch.float32)
            search = getattr(algorithms, kind)(problem, center_init=centre, **options)
        try:
            while True:
                search.step()
        except StopError:
            return

    threading.Thread(target=run, daemon=True).start()
    try:
        while True:
            costs.put((yield points.get()))
    finally:
        costs.put(None)


def pymoo(kind: str, d: int, x0: np.ndarray, seed: int, **options: object) -> Search:
    from pymoo.algorithms.soo.nonconvex import de, ga, pso
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.core.termination import NoTermination
    from pymoo.problems.static import StaticProblem

    problem = Problem(n_var=d, n_obj=1, xl=np.full(d, -BOX), xu=np.full(d, BOX))
    search = {"PSO": pso.PSO, "GA": ga.GA, "DE": de.DE}[kind](**options)
    search.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = search.ask()
        told = yield asked.get("X")
        Evaluator().eval(StaticProblem(problem, F=told[:, None]), asked)
        search.tell(infills=asked)


def _evotorch(kind: str, **options: object) -> Callable[..., Search]:
    return lambda d, x0, seed: evotorch(kind, d, x0, seed, **options)


def _pymoo(kind: str, **options: object) -> Callable[..., Search]:
    return lambda d, x0, seed: pymoo(kind, d, x0, seed, **options)


PEERS: dict[str, dict[str, Callable[..., Search]]] = {
    "es": {
        "evotorch PGPE (fixed σ, Adam)": _evotorch(
            "PGPE", popsize=40, center_learning_rate=0.05, stdev_learning_rate=0.0, stdev_init=0.1, optimizer="adam"
        )
    },
    "snes": {"evotorch SNES": _evotorch("SNES", stdev_init=SIGMA)},
    "sep_cma_es": {
        "cma, diagonal": lambda d, x0, seed: cma(d, x0, seed, CMA_diagonal=True),
        "evotorch CMAES, separable": _evotorch("CMAES", stdev_init=SIGMA, separable=True),
    },
    "cma_es": {"cma": cma, "evotorch CMAES": _evotorch("CMAES", stdev_init=SIGMA)},
    "pso": {"pymoo PSO": _pymoo("PSO")},
    "ga": {
        "pymoo GA": _pymoo("GA"),
        "evotorch GeneticAlgorithm": _evotorch("GeneticAlgorithm", popsize=40, re_evaluate=False),
    },
    "de": {"pymoo DE": _pymoo("DE")},
}
"""Other libraries' implementations of each of our optimizers."""
