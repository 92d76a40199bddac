"""Peak memory of a masked-LM update, which grows with the masked positions, not with batch × length × vocabulary.

    python benchmarks/memory.py --dataset WIKITEXT_FOLDER_OR_FILE --model MINILM_FOLDER

Each row is a separate process (`ru_maxrss` after two updates minus its value before the first). Expected for Q masked
positions and V choices in float32: a few [Q, V] arrays, plus the encoder's activations.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import warnings

MIB = 2**20


def measure(arguments: argparse.Namespace) -> None:
    import gymnasium
    import torch as th

    import lm_gym  # noqa: F401
    from lm_gym.agents.algorithms.reinforce import REINFORCE

    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    env = gymnasium.make_vec(
        "lm_gym/MaskedLM-v0",
        num_envs=arguments.batch,
        dataset=arguments.dataset,
        tokenizer=arguments.model,
        unit="sequence",
        reward="accuracy",
        mask_probability=arguments.mask_probability,
        max_length=arguments.max_length,
        autoreset_mode="SameStep",
    )
    model = REINFORCE("LMPolicy", env, 1e-5, seed=0, device="cpu", policy_kwargs={"model": arguments.model})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model.learn(1, log_interval=None)
    first = model.num_timesteps
    model.learn(1, log_interval=None, reset_num_timesteps=False)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    vocabulary = model.policy.num_choices
    positions = max(first, model.num_timesteps - first) // model.samples
    print(json.dumps({"positions": positions, "growth": after - before, "vocabulary": vocabulary}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="builtin/masked_lm")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--mask_probability", type=float)
    arguments = parser.parse_args()
    if arguments.mask_probability is not None:
        measure(arguments)
        return
    print(f"{'masked':>8} {'positions Q':>12} {'growth MiB':>11} {'Q·V·4 MiB':>10} {'B·L·V·4 MiB':>12}")
    for probability in (0.05, 0.15, 0.3, 0.6, 1.0):  # the last is the cost of a head over every token
        command = [sys.executable, __file__, "--mask_probability", str(probability), "--dataset", arguments.dataset]
        command += ["--model", arguments.model, "--batch", str(arguments.batch)]
        command += ["--max_length", str(arguments.max_length)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        one = row["vocabulary"] * 4 / MIB
        print(
            f"{probability:8.0%} {row['positions']:12} {row['growth'] / MIB:11.0f} {row['positions'] * one:10.0f} "
            f"{arguments.batch * arguments.max_length * one:12.0f}"
        )


if __name__ == "__main__":
    main()
