"""Speed gained, and noise added to the fitness, by forward passes in bfloat16.

    python benchmarks/precision.py --data FOLDER [--models tiny MINILM_FOLDER] [--parts noise learning]

The task is masked LM on plain text (FOLDER has train.txt and valid.txt) in pieces of 64 sub-tokens, with log-likelihood
as the reward, on one thread, in CPU time. A generation has 64 antithetic members of `low_rank_es`; each pair has its
own text.

noise: fitness of the same members on the same texts in float32 and in bfloat16. The error is that of the difference
between the two members of a pair, which the optimizer learns from, relative to the deviation of these differences.
learning: perplexity on 400 held-out texts after the same number of forward passes in each precision.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

SIGMA = {"full": 1.0, "bias": 1.0, "head": 0.1}  # natural steps, as in benchmarks/adapting.py
PRECISIONS = ("float32", "bfloat16")
MEMBERS = 64


def environments(data: str, model: str, split: str, rows: int) -> Any:
    import gymnasium

    import lm_gym  # noqa: F401

    fixed: dict[str, Any] = {"dataset": data, "unit": "sequence", "actions": "distribution", "max_length": 64}
    fixed |= {"reward": "log_likelihood", "autoreset_mode": "SameStep"}
    tokenizer = {} if model == "tiny" else {"tokenizer": model}
    return gymnasium.make_vec("lm_gym/MaskedLM-v0", num_envs=rows, split=split, **fixed, **tokenizer)


def agent(data: str, model: str, space: str, sigma: float, precision: str, seed: int = 0) -> Any:
    from lm_gym.agents import BlackBox

    return BlackBox(
        "LMPolicy",
        environments(data, model, "train", MEMBERS // 2),
        optimizer="low_rank_es",
        search_space=space,
        optimizer_kwargs={"popsize": MEMBERS, "rule": "adam", "sigma": sigma, "learning_rate": 0.1 * sigma},
        policy_kwargs={"model": model},
        texts_per_member=1,
        max_rows=64,
        precision=precision,
        seed=seed,
        device="cpu",
    )


def noise(data: str, model: str, space: str, times: float, rounds: int) -> str:
    """Return a row of the table: speed and error of bfloat16."""
    import torch as th

    from lm_gym.agents.algorithms.fitness import judge

    search = agent(data, model, space, times * SIGMA[space], "float32")
    search._setup_learn(2**62)
    texts, population = search._texts(search.env), search.optimizer.ask()
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    differences: dict[str, list[th.Tensor]] = {precision: [] for precision in PRECISIONS}
    for _ in range(rounds + 1):
        obs, _ = search.policy.obs_to_tensor(search._last_obs)
        for precision in PRECISIONS:
            search.space.precision = precision
            start = time.process_time()
            fitness = judge(search.space, population, obs, texts, 64, MEMBERS // 2).fitness
            seconds[precision].append(time.process_time() - start)
            differences[precision].append(fitness[0::2] - fitness[1::2])
        search._last_obs = search.env.reset()
    speeds = [a / b for a, b in zip(*(seconds[precision][1:] for precision in PRECISIONS), strict=True)]
    full, low = (th.cat(differences[precision]) for precision in PRECISIONS)
    rates = [f"{MEMBERS / statistics.median(seconds[precision][1:]):,.0f}" for precision in PRECISIONS]
    spread, error = full.std().item(), (low - full).std().item()
    speed = f"{statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})"
    return (
        f"{times * SIGMA[space]:g} | {' | '.join(rates)} | {speed} | {spread:.3f} | {error:.4f} | {error / spread:.1%}"
    )


def learned(data: str, model: str, space: str, precision: str, seed: int, passes: int) -> tuple[float, float, float]:
    """Return perplexity before and after a search, and its CPU seconds."""
    from lm_gym.agents import evaluate

    search = agent(data, model, space, SIGMA[space], precision, seed)
    held_out = environments(data, model, "validation", 64)
    start = evaluate(search.policy, held_out, texts=400).metrics["perplexity"]
    began = time.process_time()
    search.learn(int(passes * search.timesteps_per_pass / search.forward_passes_per_pass), log_interval=None)
    spent = time.process_time() - began
    return start, evaluate(search.policy, held_out, texts=400).metrics["perplexity"], spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--models", nargs="+", default=["tiny"])
    parser.add_argument("--spaces", nargs="+", default=["full", "bias"])
    parser.add_argument("--times", nargs="+", type=float, default=[0.1, 1.0], help="multiples of the usual sigma")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=4000)
    parser.add_argument("--parts", nargs="+", default=["noise", "learning"])
    given = parser.parse_args()
    import torch as th

    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    if "noise" in given.parts:
        print("| model | space | σ | texts/s float32 | texts/s bfloat16 | ratio | spread | error | error / spread |")
        print("|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        for model in given.models:
            for space in given.spaces:
                for times in given.times:
                    row = noise(given.data, model, space, times, given.rounds)
                    print(f"| {os.path.basename(model)} | `{space}` | {row} |", flush=True)
    if "learning" in given.parts:
        print("\n| model | space | seed | start | float32 | bfloat16 | CPU s float32 | CPU s bfloat16 |")
        print("|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
        for model in given.models:
            for space in given.spaces:
                for seed in range(given.seeds):
                    ends = [learned(given.data, model, space, p, seed, given.passes) for p in PRECISIONS]
                    numbers = [f"{ends[0][0]:.0f}", *(f"{e[1]:.1f}" for e in ends), *(f"{e[2]:.0f}" for e in ends)]
                    name = os.path.basename(model)
                    print(f"| {name} | `{space}` | {seed} | {' | '.join(numbers)} |", flush=True)


if __name__ == "__main__":
    main()
