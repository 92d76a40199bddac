"""Cost of evaluating a population in one forward pass, compared with inference and with a loop over its members.

    python benchmarks/population.py [--model MINILM_FOLDER] [--parts steps apart rows head memory]

A tagger with a new head reads random texts of 32 sub-tokens with 30 positions each; one thread, CPU time. The two
measurements of a ratio alternate. Inference reads the same tokens, in forward passes of the fastest size.

Expected, for m rows of d numbers in a linear layer with k outputs, P members and rank-1 noise: inference takes m·d·k
multiplications. The members add m·(d + k) multiplications on cached data, (d + k)·P/2 random numbers, and d·k·P/2
multiplications in the update. This is 1/d + 1/k of the products, but products run at tens of multiplications per
nanosecond and memory is slower: about 5% at d = 384 and 15% at d = 128.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

LENGTH, TAGS, MIB = 32, 9, 2**20
ROWS = 32  # texts per forward pass of a search
SIZES = (16, 32, 64, 128, 512)  # of the part "rows"


def policy_and_texts(model: str | dict[str, Any], texts: int):
    """Return a tagger and texts of random tokens. A model given by its configuration has random weights."""
    import numpy as np
    import torch as th
    from gymnasium import spaces
    from transformers import AutoConfig

    from lm_gym.agents.model.loading import model_path
    from lm_gym.agents.model.policy import LMPolicy

    th.set_num_threads(1)
    th.manual_seed(0)
    warnings.simplefilter("ignore")
    config = model if isinstance(model, dict) else AutoConfig.from_pretrained(model_path(model)).to_dict()
    vocabulary, slots = config["vocab_size"], LENGTH - 2
    leaves = {
        "input_ids": spaces.Box(0, vocabulary - 1, (LENGTH,), np.int64),
        "attention_mask": spaces.Box(0, 1, (LENGTH,), np.int8),
        "positions": spaces.Box(0, LENGTH - 1, (slots,), np.int64),
        "position_mask": spaces.Box(0, 1, (slots,), np.int8),
    }
    policy = LMPolicy(spaces.Dict(leaves), spaces.MultiDiscrete([TAGS] * slots), lambda _: 0.0, model=model)
    policy.set_training_mode(False)
    obs = {
        "input_ids": th.randint(1000, vocabulary, (texts, LENGTH)),
        "attention_mask": th.ones(texts, LENGTH, dtype=th.int8),
        "positions": th.arange(1, LENGTH - 1).repeat(texts, 1),
        "position_mask": th.ones(texts, slots, dtype=th.int8),
    }
    return policy, obs


def generation(space, optimizer, obs, max_rows: int, groups: int = 1) -> Callable[[], None]:
    """Run one generation of a search: ask, evaluate, tell. Fitness is the total log-probability of tag 0."""
    import torch as th

    from lm_gym.agents.search.population.reading import Reading

    def run() -> None:
        population = optimizer.ask()
        reading = Reading(obs, population.size, groups)
        fitness = th.zeros(population.size, dtype=th.float64, device=obs["input_ids"].device)
        for members, log_probs in space.evaluate(obs, population, max_rows, groups):
            whose = members.start + reading.positions(members)[0]
            fitness.index_add_(0, whose, log_probs.reshape(-1, TAGS)[:, 0].double())
        with th.no_grad():
            optimizer.tell(fitness)

    return run


def inference(policy, obs, members: int, max_rows: int, groups: int = 1) -> Callable[[], None]:
    """Send the same tokens through the unchanged model."""
    import torch as th

    from lm_gym.agents.search.population.forward import read_together
    from lm_gym.agents.search.population.reading import Reading

    reading = Reading(obs, members, groups)
    together = max(1, min(members, max_rows // reading.texts))

    def run() -> None:
        with th.inference_mode():
            for start in range(0, members, together):
                read_together(policy, reading, slice(start, min(start + together, members)))

    return run


def loop(policy, space, optimizer, obs) -> Callable[[], None]:
    """Write members into the model one by one."""
    import torch as th

    def run() -> None:
        population = optimizer.ask()
        with th.inference_mode():
            for member in range(population.size):
                with space.materialised(population, member):
                    policy.positions(obs)

    return run


def lean_loop(policy, space, optimizer, obs) -> Callable[[], None]:
    """Do the same with a loop optimised for this case: factors drawn once, one product per matrix."""
    import torch as th

    def run() -> None:
        population, live = optimizer.ask(), space.tensors()
        origin, noise, pairs = [tensor.clone() for tensor in live], population.noise, population.directions
        draws = [noise.low_rank if noise.is_low_rank(block) else noise.vectors for block in space.blocks]
        drawn = [draw(i, b, pairs, live[0].device) for i, (draw, b) in enumerate(zip(draws, space.blocks, strict=True))]
        with th.inference_mode():
            for member in range(population.size):
                for block, tensor, start, directions in zip(space.blocks, live, origin, drawn, strict=True):
                    step = float(population.side[member]) * population.sigma * block.scale
                    if isinstance(directions, tuple):
                        A, B = (factor[member // 2] for factor in directions)
                        th.addmm(start, A, B.T, alpha=step, out=tensor)
                    else:
                        th.add(start, directions[member // 2], alpha=step, out=tensor)
                policy.positions(obs)
            for tensor, start in zip(live, origin, strict=True):
                tensor.copy_(start)

    return run


def seconds(runs: Sequence[Callable[[], None]], rounds: int) -> list[list[float]]:
    """Return CPU seconds of each, [rounds, runs], measured in turn, without the first round."""
    times = []
    for _ in range(rounds + 1):
        row = []
        for run in runs:
            start = time.process_time()
            run()
            row.append(time.process_time() - start)
        times.append(row)
    return times[1:]


def ratio(times: list[list[float]], top: int, bottom: int) -> str:
    """Return the median and range of the ratios of two columns."""
    ratios = [row[top] / row[bottom] for row in times]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def median(times: list[list[float]], column: int) -> float:
    return statistics.median(row[column] for row in times)


def steps(model: str, members: int, rounds: int) -> None:
    """Measure LowRankES on the whole model."""
    from lm_gym.agents.search.optimizers import OPTIMIZERS
    from lm_gym.agents.search.spaces import SEARCH_SPACES

    print("| texts | inference, s | search, s | inference / search | loop / search | lean loop / search |")
    print("|---:|---:|---:|---:|---:|---:|")
    for texts in (8, 2):
        policy, obs = policy_and_texts(model, texts)
        space = SEARCH_SPACES["full"](policy)
        optimizer = OPTIMIZERS["low_rank_es"](space.tensors(), space.blocks, seed=0, popsize=members)
        sizes = {rows: seconds([inference(policy, obs, members, rows)], 1)[0][0] for rows in (32, 64, 128, 512)}
        best = min(sizes, key=sizes.__getitem__)
        search = generation(space, optimizer, obs, ROWS)
        times = seconds([inference(policy, obs, members, best), search], rounds)
        row = f"| {texts} | {median(times, 0):.2f} | {median(times, 1):.2f} | {ratio(times, 0, 1)} |"
        if texts == 2:
            loops = [search, loop(policy, space, optimizer, obs), lean_loop(policy, space, optimizer, obs)]
            slow = seconds(loops, max(1, rounds // 3))
            row += f" {ratio(slow, 1, 0)} | {ratio(slow, 2, 0)} |"
        else:
            row += " | |"
        print(row, flush=True)


def apart(model: str, members: int, rounds: int) -> None:
    """Measure LowRankES on the whole model, where each pair of members has its own text of 5 to 30 positions."""
    import torch as th

    from lm_gym.agents.search.optimizers import OPTIMIZERS
    from lm_gym.agents.search.spaces import SEARCH_SPACES

    print("| members | inference, s | search, s | inference / search |")
    print("|---:|---:|---:|---:|")
    for count in (members, 4 * members):
        policy, obs = policy_and_texts(model, count // 2)
        slots = obs["position_mask"].shape[1]
        obs["position_mask"] *= th.arange(slots) < th.randint(5, slots + 1, (count // 2, 1))
        space = SEARCH_SPACES["full"](policy)
        optimizer = OPTIMIZERS["low_rank_es"](space.tensors(), space.blocks, seed=0, popsize=count)
        sizes = {rows: seconds([inference(policy, obs, count, rows, count // 2)], 1)[0][0] for rows in (32, 64, 128)}
        best = min(sizes, key=sizes.__getitem__)
        search = generation(space, optimizer, obs, ROWS, count // 2)
        times = seconds([inference(policy, obs, count, best, count // 2), search], rounds)
        print(f"| {count} | {median(times, 0):.2f} | {median(times, 1):.2f} | {ratio(times, 0, 1)} |", flush=True)


def rows(model: str, members: int, rounds: int) -> None:
    """Measure generations with forward passes of different sizes, by space and by the texts that members read."""
    from lm_gym.agents.search.optimizers import OPTIMIZERS
    from lm_gym.agents.search.spaces import SEARCH_SPACES

    print(f"| space | {members} members read | {' | '.join(f'{size}, s' for size in SIZES)} |")
    print(f"|---|---|{'---:|' * len(SIZES)}")
    for name in ("full", "bias", "head"):
        for what, texts, groups in (("the same 8 texts", 8, 1), ("a text a pair", members // 2, members // 2)):
            policy, obs = policy_and_texts(model, texts)
            space = SEARCH_SPACES[name](policy)
            optimizer = OPTIMIZERS["low_rank_es"](space.tensors(), space.blocks, seed=0, popsize=members)
            times = seconds([generation(space, optimizer, obs, size, groups) for size in SIZES], rounds)
            found = " | ".join(f"{median(times, i):.3f}" for i in range(len(SIZES)))
            print(f"| `{name}` | {what} | {found} |", flush=True)


def head(model: str, members: int, rounds: int) -> None:
    """Measure a search of the head alone."""
    import torch as th

    from lm_gym.agents.search.population.population import Dense
    from lm_gym.agents.search.spaces import SEARCH_SPACES

    policy, obs = policy_and_texts(model, 32)
    space = SEARCH_SPACES["head"](policy)
    population = Dense(th.randn(members, space.domain.dim))
    times = seconds(
        [inference(policy, obs, 1, 32), lambda: [None for _ in space.evaluate(obs, population, 512)]], rounds * 3
    )
    print(f"{members} heads on 32 texts: {ratio(times, 1, 0)} of one encoding ({1e3 * median(times, 0):.0f} ms)")


def memory(model: str, members: int) -> None:
    """Measure peak memory above that of the libraries, each in a separate process."""
    rows = {}
    for kind in ("inference", "mezo", "inference of all members", "low_rank_es"):
        command = [sys.executable, __file__, "--model", model, "--members", str(members), "--measure", kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows[kind] = json.loads(done.stdout.splitlines()[-1])
    for search, plain in (("mezo", "inference"), ("low_rank_es", "inference of all members")):
        a, b = rows[search], rows[plain]
        print(f"{search}: {a / MIB:.0f} MiB, {plain}: {b / MIB:.0f} MiB, ratio {a / b:.2f}")
    print(f"low_rank_es against inference of the texts once: {rows['low_rank_es'] / rows['inference']:.2f}")


def measure(kind: str, model: str, members: int) -> None:
    """Print the peak bytes of three generations or forwards, minus those before the model was loaded (Linux)."""
    import lm_gym.agents.search.spaces  # noqa: F401
    from lm_gym.agents.search.optimizers import OPTIMIZERS
    from lm_gym.agents.search.spaces import SEARCH_SPACES

    policy_and_texts("tiny", 8)  # memory for loading itself
    before = _status("VmRSS")
    policy, obs = policy_and_texts(model, 8)
    if kind.startswith("inference"):
        run = inference(policy, obs, members if "all" in kind else 1, ROWS)
    else:
        space = SEARCH_SPACES["full"](policy)
        options = {"popsize": members} if kind == "low_rank_es" else {}
        rows = ROWS if kind == "low_rank_es" else 8  # MeZO's two members run one after another
        run = generation(space, OPTIMIZERS[kind](space.tensors(), space.blocks, seed=0, **options), obs, rows)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    for _ in range(3):
        run()
    print(json.dumps(_status("VmHWM") - before))


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--members", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["steps", "apart", "rows", "head", "memory"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.model, arguments.members)
        return
    if "steps" in arguments.parts:
        steps(arguments.model, arguments.members, arguments.rounds)
    if "apart" in arguments.parts:
        apart(arguments.model, arguments.members, arguments.rounds)
    if "rows" in arguments.parts:
        rows(arguments.model, arguments.members, arguments.rounds)
    if "head" in arguments.parts:
        head(arguments.model, arguments.members, arguments.rounds)
    if "memory" in arguments.parts:
        memory(arguments.model, arguments.members)


if __name__ == "__main__":
    main()
