"""Adaptation of a masked LM to another domain without gradients, by search space, method and step size.

    python benchmarks/adapting.py --data FOLDER [--passes 6000] [--spaces head bias lora full] [--apart 0 1]

`tiny`, pretrained on the builtin corpus, reads plain text of another domain (FOLDER has train.txt and valid.txt) in
pieces of 64 tokens, with log-likelihood as the reward. Each row is one run with one seed, from the same start and with
the same number of forward passes. Perplexity is that of the same 400 validation texts. Step sizes are tried on a
log-spaced grid, with the same number of trials for every method. With `apart`, every unit of members (a pair, or a
batch of FZOO) reads its own text, instead of 16 texts that all members share.

Finished rows are appended to a JSONL file and are not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

SIGMA = {"head": 0.1, "bias": 1.0, "lora": 1.0, "full": 1.0}  # natural steps, about 0.05 to 0.2 nats per member
STEPS = {  # optimizer, its arguments, members that share texts, and the learning rates to try, over sigma
    "snes": ({"popsize": 64}, 2, (None, 0.1, 0.3)),
    "low_rank_es": ({"popsize": 64, "rule": "adam"}, 2, (0.03, 0.1, 0.3)),
    "mezo": ({"popsize": 64, "adaptive": True}, 2, (0.3, 1.0, 3.0)),
    "fzoo": ({"popsize": 63, "directions": 8, "rank": 1}, 9, (0.3, 1.0, 3.0)),
    "lozo": ({"popsize": 64, "momentum": 0.9}, 2, (0.3, 1.0, 3.0)),
    "zo_sgd": ({"popsize": 64, "rule": "adam", "rank": 1}, 2, (0.03, 0.1, 0.3)),
}
TEXTS = 16


def run(data: str, space: str, method: str, rate: float | None, apart: bool, passes: int, seed: int) -> dict[str, Any]:
    """One run: perplexity before and after, and what it cost."""
    import gymnasium
    import torch as th

    import lm_gym  # noqa: F401
    from lm_gym.agents import BlackBox, evaluate

    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    options, unit, _ = STEPS[method]
    given: dict[str, Any] = {**options, "sigma": SIGMA[space]}
    if rate is not None:
        given["learning_rate"] = rate * (1.0 if method == "snes" else SIGMA[space])
    if method == "mezo" and space == "full":
        given["popsize"] = 16  # its directions are drawn one by one
    fixed = {
        **{"dataset": data, "unit": "sequence", "actions": "distribution", "reward": "log_likelihood"},
        **{"max_length": 64, "autoreset_mode": "SameStep"},
    }
    texts = given["popsize"] // unit if apart else TEXTS
    env = gymnasium.make_vec("lm_gym/MaskedLM-v0", num_envs=texts, split="train", **fixed)
    held_out = gymnasium.make_vec("lm_gym/MaskedLM-v0", num_envs=64, split="validation", **fixed)
    model = BlackBox(
        "LMPolicy",
        env,
        optimizer=method,
        search_space=space,
        optimizer_kwargs=given,
        texts_per_member=1 if apart else None,
        max_rows=128,
        seed=seed,
        device="cpu",
    )
    row: dict[str, Any] = {"space": space, "method": method, "rate": rate, "apart": apart, "seed": seed}
    row["start"] = evaluate(model.policy, held_out, texts=400).metrics["perplexity"]
    began = time.process_time()
    per_pass = model.timesteps_per_pass / model.forward_passes_per_pass
    model.learn(int(passes * per_pass), log_interval=None)
    row["cpu_seconds"], row["passes"] = round(time.process_time() - began, 1), model.forward_passes
    row["perplexity"] = evaluate(model.policy, held_out, texts=400).metrics["perplexity"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--passes", type=int, default=6000)
    parser.add_argument("--spaces", nargs="+", default=list(SIGMA))
    parser.add_argument("--methods", nargs="+", default=list(STEPS))
    parser.add_argument("--apart", nargs="+", type=int, default=[0])
    parser.add_argument("--rates", nargs="+", type=float, help="in place of the grid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="adapting.jsonl")
    given = parser.parse_args()
    out = Path(given.out)
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    for space, method, apart in itertools.product(given.spaces, given.methods, map(bool, given.apart)):
        if (method == "snes" and space == "full") or (method != "snes" and space == "lora"):
            continue  # whole models as vectors; LoRA's vector is no list of parameters
        for rate in given.rates or STEPS[method][2]:
            key = {"space": space, "method": method, "rate": rate, "apart": apart, "seed": given.seed}
            if any(key.items() <= row.items() for row in done):
                continue
            row = run(given.data, space, method, rate, apart, given.passes, given.seed)
            print(json.dumps(row), flush=True)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
