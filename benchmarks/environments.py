"""Cost of the environments alone: no model, random actions, one thread, per CPU-second.

    python benchmarks/environments.py [--dataset FOLDER] [--tokenizer FOLDER]

The documentation uses CoNLL-2003 and a BERT tokenizer; without arguments, the builtin data is used.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import itertools
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import lm_gym
from lm_gym.compat.stable_baselines3 import VecEnvAdapter

REPEATS = 5


def rate(play: Callable[[], int]) -> float:
    """Return the rate per CPU-second, as the best of a few repeats on a shared machine."""
    best = 0.0
    for _ in range(REPEATS):
        start = time.process_time()
        done = play()
        best = max(best, done / (time.process_time() - start))
    return best


def single(steps: int = 5000, **options: Any) -> float:
    env = gymnasium.make("lm_gym/NER-v0", **options)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(64)]

    def play() -> int:
        for i in range(steps):
            _, _, terminated, _, _ = env.step(actions[i % 64])
            if terminated:
                env.reset()
        return steps

    return rate(play)


def stepping(env: gymnasium.vector.VectorEnv) -> float:
    """Return steps per CPU-second; with autoreset disabled, this includes resets."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    disabled = env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    steps = 6400 // env.num_envs + 100

    def play() -> int:
        for i in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[i % 8])
            if disabled and (ended := terminated | truncated).any():
                env.reset(options={"reset_mask": ended})
        return steps * env.num_envs

    return rate(play)


def positions(num_envs: int, **options: Any) -> float:
    """Return positions per CPU-second, with a whole text per step."""
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=num_envs, unit="sequence", **options)
    return stepping(env) / 2 * env.positions_per_pass / env.num_texts  # every other step is a reset in NEXT_STEP


def unmasking(num_envs: int, **options: Any) -> float:
    """Return steps per CPU-second on builtin Sudoku, where each step decides some positions of a text."""
    env = gymnasium.make_vec("lm_gym/Unmasking-v0", num_envs=num_envs, unit="sequence", **options)
    return stepping(env)


def sb3(env: VecEnv) -> float:
    """Return steps per CPU-second through Stable-Baselines3's interface."""
    env.reset()
    choices, steps = env.action_space.n, 6400 // env.num_envs + 100
    actions = np.random.default_rng(0).integers(0, choices, (8, env.num_envs))

    def play() -> int:
        for i in range(steps):
            env.step(actions[i % 8])
        return steps * env.num_envs

    return rate(play)


def vectors(**options: Any) -> None:
    """Print the table of vector environments: single ones in a loop, native ones, both also through SB3."""

    def make_native(num_envs: int, mode: str) -> gymnasium.vector.VectorEnv:
        return gymnasium.make_vec("lm_gym/NER-v0", num_envs=num_envs, autoreset_mode=mode, **options)

    def make_single() -> gymnasium.Env:
        return gymnasium.make("lm_gym/NER-v0", **options)

    sync = stepping(gymnasium.vector.SyncVectorEnv([make_single] * 64))
    print(f"| `gymnasium.make` | {single(**options):,.0f} | |\n| `SyncVectorEnv`, 64 | {sync:,.0f} | 1 |")
    for num_envs, mode in itertools.product((64, 1024), AutoresetMode):
        figure = stepping(make_native(num_envs, mode.name))
        print(f"| native, {num_envs:,}, {mode.name} | {figure:,.0f} | {figure / sync:.1f} |")
    dummy = sb3(DummyVecEnv([lambda: Monitor(make_single())] * 64))
    print(f"| SB3 `DummyVecEnv` of monitored environments, 64 | {dummy:,.0f} | 1 |")
    for num_envs, mode in itertools.product((64, 1024), ("SAME_STEP", "DISABLED")):
        figure = sb3(VecEnvAdapter(make_native(num_envs, mode)))
        print(f"| SB3 adapter, {num_envs:,}, {mode} | {figure:,.0f} | {figure / dummy:.1f} |")


def rewards_of_samples(samples: int = 16, num_envs: int = 32, **options: Any) -> float:
    """Return the milliseconds for the F1 of K samples of each position of a batch."""
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=num_envs, unit="sequence", **options)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, env.task.shape.choices, (samples, *env.targets.shape))

    def play() -> int:
        for _ in range(10):
            env.position_rewards(actions)
        return 10

    return 1000 / rate(play)


def reset(num_texts: int, **options: Any) -> float:
    """Return the microseconds for a reset of one text."""
    data = lm_gym.Dataset.from_sentences("numbers", [["a", "b", "c", "d"]], [["e"]], max_overlap=1)
    corpus = data.splits["train"].take(np.zeros(num_texts, np.int64))
    many = lm_gym.Dataset(data.name, {"train": corpus}, {}, "")
    env = gymnasium.make("lm_gym/MaskedLM-v0", dataset=many, **options)
    env.reset(seed=0)

    def play() -> int:
        for _ in range(3000):
            env.reset()
        return 3000

    return 1e6 / rate(play)


def build(dataset: lm_gym.Dataset, num_texts: int, **options: Any) -> dict[str, float]:
    """Build an environment on many sentences, sampled from a dataset."""
    train = dataset.splits["train"]
    chosen = np.random.default_rng(0).integers(0, len(train), num_texts)
    many = lm_gym.Dataset(dataset.name, {"train": train.take(chosen)}, {}, "")
    words = len(many.splits["train"].words)
    start = time.process_time()
    lm_gym.NERVectorEnv(1, dataset=many, **options)
    seconds = time.process_time() - start
    again = lm_gym.Dataset(dataset.name, many.splits, {}, "")  # environments of the same Dataset share their tasks
    tracemalloc.start()
    env = lm_gym.NERVectorEnv(1, dataset=again, **options)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    corpus = many.splits["train"]
    assert corpus.tags is not None
    data = corpus.words.nbytes + corpus.offsets.nbytes + corpus.tags.nbytes
    raw = 4 * len(env.task.encoded.ids)
    return {
        "words per CPU-second": words / seconds,
        "memory held / raw int32 ids": held / raw,
        "the same with the corpus": (held + data) / raw,
        "peak while building / raw int32 ids": peak / raw,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="builtin/ner")
    parser.add_argument("--tokenizer", default="tiny")
    arguments = parser.parse_args()
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    data = lm_gym.load_dataset(arguments.dataset)
    options = {"dataset": data, "tokenizer": arguments.tokenizer, "reward": "f1"}
    print(f"{data.name}, {len(data.splits['train'])} training texts; per CPU-second, one thread")
    print("| steps with dense f1 | per CPU-second | ratio |\n|---|---:|---:|")
    vectors(**options)
    print(f"{'gymnasium.make, f1, dense=False, steps':48}{single(dense=False, **options):14,.0f}")
    for num_envs in (32, 256, 1024):
        print(f"{f'native {num_envs}, unit=sequence, positions':48}{positions(num_envs, **options):14,.0f}")
    for num_envs, order in itertools.product((1, 64, 1024), ("left_to_right", "random", "learned")):
        steps = unmasking(num_envs, order=order, max_steps=16, tokenizer=arguments.tokenizer, autoreset_mode="SameStep")
        print(f"{f'Unmasking, native {num_envs}, {order}, steps':48}{steps:14,.0f}")
    print(f"{'f1 of 16 samples of 32 texts, ms':48}{rewards_of_samples(**options):14,.2f}")
    few, many = (reset(n, tokenizer=arguments.tokenizer) for n in (1_000, 1_000_000))
    print(f"{'reset, 1,000 texts, µs':48}{few:14,.1f}")
    print(f"{'reset, 1,000,000 texts, µs (ratio)':48}{many:14,.1f}{many / few:14.2f}")
    for label, figure in build(data, 200_000, tokenizer=arguments.tokenizer).items():
        print(f"{'200,000 texts: ' + label:48}{figure:14,.2f}")


if __name__ == "__main__":
    main()
