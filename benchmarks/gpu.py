"""Measurements on a GPU in at most ten minutes: updates of REINFORCE, and a low-rank search over whole models.

    python benchmarks/gpu.py [--model MINILM_FOLDER]     # on a GPU
    python benchmarks/gpu.py --smoke                     # on a CPU, in seconds: checks the script

It prints, next to the expected values:

- the time of an update of REINFORCE over that of its supervised twin, on the same batches (at most 1.15);
- tokens per second of LowRankES over those of pure batched inference (at least 0.9) and of a loop that writes each
  member into the model (at least 20), on MiniLM and on a model of BERT-base's size, with 256 and 1,024 members;
- how often an update, and a generation per forward pass, wait for the device.

Without --model, a model of MiniLM's size with random weights is used. The loop is measured on a few members, because
all cost the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import gymnasium
import torch as th
from population import LENGTH, generation, inference, loop, policy_and_texts

import lm_gym  # noqa: F401
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.spaces import SEARCH_SPACES


def bert(hidden: int, layers: int, heads: int, vocabulary: int = 30_522) -> dict[str, Any]:
    """The configuration of a BERT model."""
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {"model_type": "bert", "intermediate_size": 4 * hidden, "vocab_size": vocabulary, **sizes}


def seconds(run: Callable[[], object], device: th.device, rounds: int) -> float:
    """Return the median seconds of a run until the device has finished, after a warm-up run."""
    times = []
    for _ in range(rounds + 1):
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def synchronise(device: th.device) -> None:
    if device.type == "cuda":
        th.cuda.synchronize(device)


def waits(run: Callable[[], object], device: th.device) -> str:
    """Count how often a run waits for the device, by torch's warnings. On a CPU, there is nothing to wait for."""
    if device.type != "cuda":
        return "no GPU"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        th.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            th.cuda.set_sync_debug_mode("default")
    return str(sum("synchroniz" in str(warning.message) for warning in seen))


def updates(device: th.device, model: dict[str, Any], batch: int, rounds: int) -> None:
    """Print the cost of an update of REINFORCE next to one of its twin."""
    env_arguments = {"unit": "sequence", "reward": "accuracy", "autoreset_mode": "SameStep", "sampling": "bucketed"}
    runs = {}
    for algorithm, autocast in product((Supervised, REINFORCE), (False, True)):
        more: dict[str, Any] = {"samples": 16} if algorithm is REINFORCE else {}
        env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=batch, **env_arguments)
        given = {"model": {**model, "vocab_size": int(env.single_observation_space["input_ids"].high.max()) + 1}}
        agent = algorithm("LMPolicy", env, 2e-4, seed=0, device=device, policy_kwargs=given, autocast=autocast, **more)
        agent.learn(1)

        def update(agent=agent) -> None:
            agent.learn(1, reset_num_timesteps=False, log_interval=None)

        runs[algorithm, autocast] = update
    times: dict[tuple[type, bool], list[float]] = {key: [] for key in runs}
    for _ in range(3):  # in turn, so that what else the machine does falls on all of them
        for key, update in runs.items():
            times[key].append(seconds(update, device, rounds))
    print("\n| update of | forward in | ms | waits | over the twin (at most 1.15) |\n|---|---|---:|---:|---:|")
    for (algorithm, autocast), each in times.items():
        value = statistics.median(each)
        over = value / statistics.median(times[Supervised, autocast])
        forward = "bfloat16" if autocast else "float32"
        waited = waits(runs[algorithm, autocast], device)
        print(f"| {algorithm.__name__} | {forward} | {1000 * value:.1f} | {waited} | {over:.2f} |")


def search(device: th.device, models: dict[str, Any], members: list[int], texts: int, rounds: int) -> None:
    """Print the speed of LowRankES on whole models next to that of inference and of a loop over members."""
    print(
        "\n| model | members | inference, tokens/s | search, tokens/s | search / inference (at least 0.9) "
        "| search / loop (at least 20) | search in bfloat16, tokens/s | waits per forward pass |"
        "\n|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name, model in models.items():
        policy, obs = policy_and_texts(model, texts)
        policy.to(device)
        obs = {key: leaf.to(device) for key, leaf in obs.items()}
        space = SEARCH_SPACES["full"](policy)
        few = OPTIMIZERS["low_rank_es"](space.tensors(), space.blocks, seed=0, popsize=min(16, *members))
        each = seconds(loop(policy, space, few, obs), device, 1) / few.popsize
        for count in members:
            optimizer = OPTIMIZERS["low_rank_es"](space.tensors(), space.blocks, seed=0, popsize=count)
            sizes = (256, 1024, 4096) if device.type == "cuda" else (64,)
            pure = {rows: seconds(inference(policy, obs, count, rows), device, 1) for rows in sizes}
            ours = {rows: seconds(generation(space, optimizer, obs, rows), device, 1) for rows in sizes}
            rows = min(ours, key=ours.__getitem__)
            run = generation(space, optimizer, obs, rows)
            fast, slow = min(pure.values()), seconds(run, device, rounds)
            tokens, forwards = count * texts * LENGTH, -(-count * texts // rows)
            waited = waits(run, device)
            space.precision = "bfloat16"
            low = seconds(run, device, rounds)
            space.precision = "float32"
            per = f"{int(waited) / forwards:.1f}" if waited.isdigit() else waited
            print(
                f"| {name} | {count:,} | {tokens / fast:,.0f} | {tokens / slow:,.0f} | {fast / slow:.2f} "
                f"| {each * count / slow:.1f} | {tokens / low:,.0f} | {per} |",
                flush=True,
            )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="folder of MiniLM")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--device", default="cuda" if th.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    device = th.device("cpu" if given.smoke else given.device)
    name = th.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {th.__version__}")
    if given.smoke:
        updates(device, bert(16, 1, 2), 4, 1)
        search(device, {"tiny model": bert(16, 1, 2, 2_000)}, [4, 8], 2, 1)
        return
    mini = given.model or bert(384, 6, 12)
    updates(device, bert(768, 12, 12), 64, 10)
    search(device, {"MiniLM": mini, "BERT-base": bert(768, 12, 12)}, [256, 1024], 8, 3)


if __name__ == "__main__":
    main()
