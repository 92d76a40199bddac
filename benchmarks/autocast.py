"""Speed and result of training by gradients with and without bfloat16 autocast.

    python benchmarks/autocast.py --dataset CONLL_FOLDER --models MINILM_FOLDER [--algorithms Supervised]

Each row trains on the same texts with one seed, first in float32 and then with autocast, on one thread: texts per
CPU-second of training, and entity F1 on evenly spaced validation texts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def environment(dataset: Any, model: str, split: str, rows: int) -> Any:
    import gymnasium

    import lm_gym  # noqa: F401

    options: dict[str, Any] = {"dataset": dataset, "tokenizer": model, "sampling": "bucketed", "unit": "sequence"}
    return gymnasium.make_vec("lm_gym/NER-v0", num_envs=rows, split=split, autoreset_mode="SameStep", **options)


def trained(name: str, dataset: Any, model: str, autocast: bool, seed: int, given: Any) -> tuple[float, float]:
    """Return texts per CPU-second of training, and entity F1."""
    from lm_gym import agents

    env = environment(dataset, model, "train", 32)
    options: dict[str, Any] = {"schedule": "linear", "warmup": 0.1, "policy_kwargs": {"model": model}}
    agent = getattr(agents, name)("LMPolicy", env, autocast=autocast, seed=seed, device="cpu", **options)
    start = time.process_time()
    agent.learn(given.passes * agent.timesteps_per_pass, log_interval=None)
    seconds = time.process_time() - start
    found = agents.evaluate(agent.policy, environment(dataset, model, "validation", 64), texts=given.held_out)
    return agent.forward_passes / seconds, found.metrics["entity_f1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--models", nargs="+", default=["tiny"])
    parser.add_argument("--algorithms", nargs="+", choices=("Supervised", "REINFORCE"), default=["Supervised"])
    parser.add_argument("--texts", type=int, default=3000, help="training texts")
    parser.add_argument("--held_out", type=int, default=1000, help="validation texts")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    import torch as th

    from lm_gym import load_dataset

    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    dataset = load_dataset(given.dataset, train_texts=given.texts)
    print("| algorithm | model | seed | texts/s float32 | texts/s autocast | ratio | F1 float32 | F1 autocast |")
    print("|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for name, model, seed in itertools.product(given.algorithms, given.models, range(given.seeds)):
        (slow, plain), (fast, low) = (
            trained(name, dataset, model, autocast, seed, given) for autocast in (False, True)
        )
        speeds = f"{slow:.1f} | {fast:.1f} | {fast / slow:.2f}"
        print(f"| {name} | {Path(model).name} | {seed} | {speeds} | {plain:.3f} | {low:.3f} |", flush=True)


if __name__ == "__main__":
    main()
