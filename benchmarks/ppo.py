"""Cost of PPO per text: encoding each text once, compared with encoding every observation.

    python benchmarks/ppo.py --dataset CONLL_FOLDER --model MINILM_FOLDER

Both use unmodified PPO of Stable-Baselines3 with the same rows, steps, minibatches and epochs. Expected, for texts of m
positions (CoNLL: 14.5) and rollouts of T = 64 steps: encoding every observation costs m encodings per text, both to
play and to learn. Encoding each text once costs 1 + m / T, because the end of a rollout cuts one text per row. The
speed-up is about m / (1 + m / T) = 11.8, minus the cost of the head, the environment and Stable-Baselines3's loops.
With G rows per text the same encodings serve G times as many steps.
"""

from __future__ import annotations

import argparse
import statistics
import time

import gymnasium
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer

import lm_gym  # noqa: F401
from lm_gym.agents.algorithms.text_buffer import TextRolloutBuffer
from lm_gym.agents.model.packed import AtCursors
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.compat.stable_baselines3 import VecEnvAdapter


class EveryObservation(LMPolicy):
    """A policy that encodes the text of every observation."""

    def _decide(self, obs, action_masks=None):
        packed = self.positions(obs, obs["cursor"].long().flatten())
        return AtCursors(packed.log_probs, packed.hidden, packed.rows)


def build(arguments, policy, buffer, group_size):
    rows = arguments.rows * group_size
    env = gymnasium.make_vec(
        "lm_gym/NER-v0",
        num_envs=rows,
        group_size=group_size,
        dataset=arguments.dataset,
        tokenizer=arguments.model,
        reward="accuracy",
        sampling="bucketed",
        autoreset_mode="SameStep",
    )
    return PPO(
        policy,
        VecEnvAdapter(env),
        2e-4,
        n_steps=arguments.steps,
        batch_size=rows * arguments.steps // arguments.minibatches,
        n_epochs=arguments.epochs,
        gamma=0.0,
        normalize_advantage=False,
        rollout_buffer_class=buffer,
        policy_kwargs={"model": arguments.model, "freeze": ["*embeddings*"]},
        seed=0,
        device="cpu",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="builtin/ner")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rows", type=int, default=16, help="number of texts played at a time")
    parser.add_argument("--steps", type=int, default=64, help="steps per rollout")
    parser.add_argument("--minibatches", type=int, default=4, help="minibatches per epoch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rollouts", type=int, default=4, help="rollouts of each, in turn; the first is not counted")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    th.set_num_threads(arguments.threads)
    models = {
        "every observation": build(arguments, EveryObservation, DictRolloutBuffer, 1),
        "texts once": build(arguments, LMPolicy, TextRolloutBuffer, 1),
        "texts once, 16 rows per text": build(arguments, LMPolicy, TextRolloutBuffer, 16),
    }
    vector = models["texts once"].env.vector
    texts = arguments.rows * arguments.steps * vector.num_texts / vector.positions_per_pass  # texts per rollout
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for number in range(arguments.rollouts):
        for name, model in models.items():
            start = time.process_time()
            model.learn(1, reset_num_timesteps=number == 0, log_interval=None)  # one rollout and its epochs
            if number:
                seconds[name].append(time.process_time() - start)
    base, *_ = seconds.values()
    for name, times in seconds.items():
        ratios = [b / a for a, b in zip(times, base, strict=True)]
        spread = f"(min {min(ratios):.1f}, max {max(ratios):.1f})"
        print(
            f"{name:28} {texts / statistics.median(times):7.2f} texts per CPU-second, "
            f"{statistics.median(times):6.2f} s a rollout, {statistics.median(ratios):6.1f} times {spread}"
        )


if __name__ == "__main__":
    main()
