"""Cost of an update: REINFORCE with K samples, compared with supervised training on the same batches in one run.

    python benchmarks/updates.py --dataset CONLL_FOLDER --model MINILM_FOLDER

Expected: both encode N texts with gradients, the work of 3 forward passes. REINFORCE adds K·Q samples and rewards, a
few hundred numpy calls on [K, N, T] arrays, which take less than a hundredth of the encoder's time.
"""

from __future__ import annotations

import argparse
import statistics
import time

import gymnasium
import torch as th

import lm_gym  # noqa: F401
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised


def build(algorithm, arguments, **kwargs):
    env = gymnasium.make_vec(
        "lm_gym/NER-v0",
        num_envs=arguments.batch,
        dataset=arguments.dataset,
        tokenizer=arguments.model,
        unit="sequence",
        reward=arguments.reward,
        sampling="bucketed",
        autoreset_mode="SameStep",
    )
    policy_kwargs = {"model": arguments.model, "freeze": ["*embeddings*"]}
    return algorithm("LMPolicy", env, 2e-4, seed=0, device="cpu", policy_kwargs=policy_kwargs, **kwargs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="builtin/ner")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--reward", default="accuracy")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--updates", type=int, default=12, help="updates of each, in turn, without the first two")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    th.set_num_threads(arguments.threads)
    models = {
        "supervised": build(Supervised, arguments),
        f"reinforce K={arguments.samples}": build(REINFORCE, arguments, samples=arguments.samples),
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for number in range(arguments.updates):
        for name, model in models.items():
            start = time.process_time()
            model.learn(1, reset_num_timesteps=number == 0, log_interval=None)  # one update; the same texts for both
            if number >= 2:
                seconds[name].append(time.process_time() - start)
    twin, reinforce = seconds.values()
    ratios = [b / a for a, b in zip(twin, reinforce, strict=True)]
    for name, times in seconds.items():
        print(f"{name:18} {1e3 * statistics.median(times):8.1f} ms of CPU per update (median of {len(times)})")
    print(f"ratio              {statistics.median(ratios):8.3f}  (min {min(ratios):.3f}, max {max(ratios):.3f})")


if __name__ == "__main__":
    main()
