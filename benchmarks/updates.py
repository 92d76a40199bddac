"""Time and memory of an update: REINFORCE compared with its supervised twin, on the same batches.

    python benchmarks/updates.py --dataset CONLL_FOLDER --model MINILM_FOLDER
    python benchmarks/updates.py --env lm_gym/MaskedLM-v0 --reward log_likelihood --samples all --dataset FILE \
        --model MINILM_FOLDER

Expected: both encode N texts with gradients, which is the work of 3 forward passes. With K samples, REINFORCE adds a
few hundred numpy calls on [K, N, T] arrays for the rewards, under a hundredth of the encoder's time. With every choice
(V = 30,522), it adds two or three passes over the [Q, V] log-probabilities, whose matrix product takes 384 times as
many operations. It also fills one array of that size, instead of the one that the twin's loss fills for its gradient.
Time therefore stays within 1.1 and peak memory within 1.15 of the twin's.

Seconds are CPU seconds of one process that updates both in turn. Peak memory is the largest resident set of a process
that trains only one of them.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import gymnasium
import torch as th
from transformers import AutoConfig

import lm_gym  # noqa: F401
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised


def build(algorithm, arguments, **kwargs):
    env = gymnasium.make_vec(
        arguments.env,
        num_envs=arguments.batch,
        dataset=arguments.dataset,
        tokenizer=arguments.model,
        unit="sequence",
        reward=arguments.reward,
        max_length=arguments.max_length,
        sampling="bucketed",
        autoreset_mode="SameStep",
    )
    model = arguments.model
    if env.task.head == "vocabulary" and model != "tiny":  # an encoder's folder: its sizes, with fresh weights
        model = AutoConfig.from_pretrained(model).to_dict()
    policy_kwargs = {"model": model, "freeze": ["*embeddings*"] if arguments.freeze else []}
    return algorithm("LMPolicy", env, 2e-4, seed=0, device="cpu", policy_kwargs=policy_kwargs, **kwargs)


def twin(arguments):
    return build(Supervised, arguments)


def reinforce(arguments):
    samples = arguments.samples if arguments.samples in ("auto", "all") else int(arguments.samples)
    return build(REINFORCE, arguments, samples=samples)


def peak(make, arguments, updates) -> float:
    """The largest resident set of this process, in MiB, after some updates."""
    th.set_num_threads(arguments.threads)
    model = make(arguments)
    for number in range(updates):
        model.learn(1, reset_num_timesteps=number == 0, log_interval=10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(*given) -> float:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(peak, *given).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="lm_gym/NER-v0")
    parser.add_argument("--dataset", default="builtin")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--reward", default="accuracy")
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--samples", default="16", help="K, or 'all'")
    parser.add_argument("--freeze", action=argparse.BooleanOptionalAction, default=True, help="of the embeddings")
    parser.add_argument("--updates", type=int, default=12, help="updates of each, in turn; the first two not counted")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    makers = {"supervised": twin, f"reinforce K={arguments.samples}": reinforce}
    memory = {}
    for name, make in makers.items():
        memory[name] = in_a_process(make, arguments, 4)
    th.set_num_threads(arguments.threads)
    models = {name: make(arguments) for name, make in makers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for number in range(arguments.updates):
        for name, model in models.items():
            start = time.process_time()
            model.learn(1, reset_num_timesteps=number == 0, log_interval=None)  # one update; the same texts for both
            if number >= 2:
                seconds[name].append(time.process_time() - start)
    of_twin, of_reinforce = seconds.values()
    ratios = [b / a for a, b in zip(of_twin, of_reinforce, strict=True)]
    for name, times in seconds.items():
        print(
            f"{name:18} {1e3 * statistics.median(times):8.1f} ms of CPU an update (median of {len(times)}), "
            f"{memory[name]:7.0f} MiB at most"
        )
    print(f"time, ratio        {statistics.median(ratios):8.3f}  (min {min(ratios):.3f}, max {max(ratios):.3f})")
    first, second = memory.values()
    print(f"memory, ratio      {second / first:8.3f}")


if __name__ == "__main__":
    main()
