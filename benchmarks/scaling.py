"""Cost of a generation on a Ray cluster: a model, checked against measurements on this machine. Writes docs/scaling.md.

    python benchmarks/scaling.py [--workers 1 2 4] [--generations 5]

LowRankES searches all weights of `tiny` (1.4 million) on the builtin named entities; one thread per process. The model:

    time  = evaluation / workers + update + orders · time of an order + bytes / bandwidth
    bytes = down: an update for each worker, and the orders; up: the parts of all chunks

Evaluation and update are measured in one process, orders with a worker that does nothing. Sizes of messages are those
of messages with the same arrays. A machine with fewer cores than processes shares them.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import pickle
import statistics
import time
import warnings
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
import torch as th

import lm_gym
from lm_gym.agents.algorithms.evaluators import LocalEvaluator
from lm_gym.agents.algorithms.fitness import Part
from lm_gym.agents.algorithms.presets import LowRankES
from lm_gym.agents.algorithms.replica import Order, Update

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
BEGIN, END = "<!-- benchmarks/scaling.py -->\n", "<!-- end -->"
POPSIZE, TEXTS, MAX_ROWS = 64, 16, 64
# The clusters of the projection; assumed, not measured.
MODELS = {"1.4M": 1.4e6, "22M": 22e6, "110M": 110e6, "1.3B": 1.3e9, "7B": 7e9}
WORKERS = (1, 10, 100, 1000)
RATE, MEMORY, NETWORK = 1e14, 1e12, 1.25e9  # operations, bytes of memory and bytes on the network per second
BIG_POPSIZE, BIG_TEXTS, TOKENS, CHUNK = 4096, 64, 32, 4


class Cost(NamedTuple):
    """The seconds of a generation by their use, and its bytes."""

    evaluation: float
    update: float
    orders: float
    network: float
    down: int
    up: int

    @property
    def seconds(self) -> float:
        """Total seconds."""
        return sum(self[:4])

    @property
    def limit(self) -> str:
        """The part that takes longest."""
        return max(self._fields[:4], key=lambda name: getattr(self, name))


def count_orders(chunks: int, workers: int) -> int:
    """Number of orders of a generation; see RayEvaluator."""
    count = 0
    while chunks:
        chunks -= math.ceil(chunks / (2 * workers))
        count += 1
    return count


def count_bytes(popsize: int, chunk: int, texts: int, positions: int, workers: int) -> tuple[int, int]:
    """Bytes of a generation, down and up, measured on messages with arrays of these sizes."""
    chunks = popsize // chunk
    orders = count_orders(chunks, workers)
    update = len(pickle.dumps(Update(np.zeros(popsize), 1.0)))
    order = len(pickle.dumps(Order(1000, 10_000, range(10, 20))))
    arrays = np.zeros(chunk), np.zeros(texts), np.zeros(1), np.zeros(positions, np.int32), np.zeros(positions, "f4")
    one = [Part(0, *arrays)]
    two = [*one, Part(0, *(array.copy() for array in arrays))]
    first = len(pickle.dumps(one))
    more = len(pickle.dumps(two)) - first
    return workers * update + orders * order, orders * (first - more) + chunks * more


def build() -> LowRankES:
    env = gymnasium.make_vec(
        "lm_gym/NER-v0", num_envs=TEXTS, unit="sequence", actions="distribution", reward="log_likelihood",
        autoreset_mode="SameStep", max_length=64,
    )  # fmt: skip
    given = {"search_space": "full", "optimizer_kwargs": {"popsize": POPSIZE}, "max_rows": MAX_ROWS}
    return LowRankES("LMPolicy", env, seed=0, device="cpu", **given)


class Timed(LocalEvaluator):
    """Records the seconds of each evaluation, and the number of positions that it decided."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def judge(self, agent, population):
        """See Evaluator."""
        began = time.perf_counter()
        judged = super().judge(agent, population)
        self.seconds.append(time.perf_counter() - began)
        self.positions = sum(population.reading.counts)
        return judged


def generations(agent, count: int, evaluator) -> list[float]:
    """Return the seconds of each generation, without the first."""
    from stable_baselines3.common.callbacks import BaseCallback

    times: list[float] = []

    class Clock(BaseCallback):
        def _on_step(self) -> bool:
            times.append(time.perf_counter())
            return len(times) <= count

    agent.evaluator = evaluator
    agent.learn(10**12, callback=Clock())
    return [b - a for a, b in itertools.pairwise(times)]


def measure(counts: list[int], number: int) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Measure the constants of this machine, and the cost of a generation with each number of workers."""
    import ray

    from lm_gym.agents.algorithms.ray_evaluator import RayEvaluator

    th.set_num_threads(1)
    load = os.getloadavg()[0]
    local, timed = build(), Timed()
    alone = statistics.median(generations(local, number, timed))
    evaluation = statistics.median(timed.seconds[1:])
    parameters = sum(p.numel() for p in local.policy.parameters())
    with RayEvaluator(max(counts), checksum_every=10**9) as evaluator:
        actor = ray.remote(num_cpus=0)(_Nothing).remote()
        ray.get(actor.answer.remote(b""))
        began = time.perf_counter()
        for _ in range(200):
            ray.get(actor.answer.remote(b"0" * 100))
        order = (time.perf_counter() - began) / 200
        constants = {
            "evaluation": evaluation, "update": max(0.0, alone - evaluation), "order": order, "alone": alone,
            "parameters": parameters, "positions": timed.positions, "cores": len(os.sched_getaffinity(0)),
            "load": load,
        }  # fmt: skip
        rows = []
        for workers in counts:
            agent = build()
            evaluator.resize(workers)
            evaluator.wait(agent)
            before = vars(evaluator.traffic).copy()
            seconds = generations(agent, number, evaluator)
            same = all(
                th.equal(a, b) for a, b in zip(agent.policy.parameters(), local.policy.parameters(), strict=True)
            )
            spent = {key: (value - before[key]) / (number + 1) for key, value in vars(evaluator.traffic).items()}
            rows.append({"workers": workers, "seconds": statistics.median(seconds), "same": same, **spent})
    return constants, rows


class _Nothing:
    def answer(self, message: bytes) -> bytes:
        return message


def predict_here(constants: dict[str, float], workers: int) -> Cost:
    """Apply the model to this machine, whose cores all processes share."""
    cores = constants["cores"]
    chunk = MAX_ROWS // TEXTS
    down, up = count_bytes(POPSIZE, chunk, TEXTS, int(constants["positions"]), workers)
    update = constants["update"] * (workers + 1) / min(workers + 1, cores)
    orders = count_orders(POPSIZE // chunk, workers) * constants["order"]
    return Cost(constants["evaluation"] / min(workers, cores), update, orders, 0.0, down, up)


def predict(parameters: float, workers: int, order: float) -> Cost:
    """Apply the model to accelerators of the assumed speed, in 16 bits."""
    chunks = BIG_POPSIZE // CHUNK
    rounds = math.ceil(chunks / workers)
    down, up = count_bytes(BIG_POPSIZE, CHUNK, BIG_TEXTS, BIG_TEXTS * TOKENS // 2, workers)
    evaluation = rounds * CHUNK * BIG_TEXTS * TOKENS * 2 * parameters / RATE
    update = 2 * (BIG_POPSIZE // 2) * parameters / RATE + 3 * 2 * parameters / MEMORY
    return Cost(evaluation, update, count_orders(chunks, workers) * order, (down + up) / NETWORK, down, up)


def picture(order: float, path: Path) -> None:
    """Draw generations per second over the number of workers, with a line for each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    workers = np.unique(np.logspace(0, 3, 40).astype(int))
    for name, parameters in MODELS.items():
        costs = [predict(parameters, int(w), order) for w in workers]
        (line,) = axes.plot(workers, [1 / c.seconds for c in costs], label=f"{name} parameters")
        ideal = workers / costs[0].seconds
        axes.plot(workers, ideal, ":", color=line.get_color(), linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="generations per second")
    axes.set_title("Projected, with dotted lines for perfect scaling", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def text(constants: dict[str, float], rows: list[dict[str, float]]) -> str:
    """Return the generated part of the page."""
    c = constants
    lines = [
        f"One process on this machine ({c['cores']:.0f} cores, load average {c['load']:.1f}, torch {th.__version__}): "
        f"a generation of {POPSIZE} members on {TEXTS} texts with {c['parameters'] / 1e6:.1f} million parameters takes "
        f"{c['alone']:.2f} s, "
        f"of which the update takes {c['update']:.2f} s. An order and its answer take {c['order'] * 1e3:.1f} ms.",
        "",
        "| workers | s per generation, model | measured | bytes down, model | counted | bytes up, model | counted "
        "| weights equal those of one process |",
        "|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        cost = predict_here(c, int(row["workers"]))
        lines.append(
            f"| {row['workers']} | {cost.seconds:.2f} | {row['seconds']:.2f} | {cost.down:,} | {row['down']:,.0f} "
            f"| {cost.up:,} | {row['up']:,.0f} | {'yes' if row['same'] else 'NO'} |"
        )
    lines += [
        "",
        f"The projection: {BIG_POPSIZE:,} members in chunks of {CHUNK}, {BIG_TEXTS} texts of {TOKENS} tokens, rank 1. "
        f"The time of an order is the one measured here. Everything else is assumed: workers that compute {RATE:.0e} "
        f"operations and move {MEMORY:.0e} bytes of memory per second in 16 bits, and a network of {NETWORK:.2e} bytes "
        "per second at the agent.",
        "",
        "| parameters | workers | generations/s | bytes down | bytes up | limited by |",
        "|---:|---:|---:|---:|---:|---|",
    ]
    for name, parameters in MODELS.items():
        for workers in WORKERS:
            cost = predict(parameters, workers, c["order"])
            lines.append(
                f"| {name} | {workers:,} | {1 / cost.seconds:.3g} | {cost.down:,} | {cost.up:,} | {cost.limit} |"
            )
    return "\n".join(["", *lines, "", "![Generations per second over workers](scaling.png)", "", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--generations", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    constants, rows = measure(given.workers, given.generations)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + text(constants, rows) + END + after, encoding="utf-8")
    picture(constants["order"], PAGE.with_suffix(".png"))
    print(text(constants, rows))


if __name__ == "__main__":
    assert lm_gym  # registers the environments
    main()
