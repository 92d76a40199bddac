"""Sudoku by unmasking: the share of puzzles solved against the number of steps, by decoding order.

The supervised twin trains a small masked-diffusion model from scratch. It then decodes the test puzzles in every order,
with several positions per step. Finally, REINFORCE learns from the same model when to fill each position.

    python -m benchmarks.unmasking --seeds 0 1 2

It prints a Markdown table with a row for each order and number of positions per step: steps, puzzles solved and correct
cells, as means over seeds, and the standard deviation of the puzzles solved.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lm_gym.agents import REINFORCE, LMPolicy, Supervised, evaluate
from lm_gym.envs import TextVectorEnv

ORDERS = ("random", "left_to_right", "entropy", "margin", "confidence")
PER_STEP = (1, 2, 4, 16)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "1", "2", "3", "4"]


def build_tokenizer() -> Tokenizer:
    """A tokenizer of the four digits."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(WORDS[:5])
    return tokenizer


def make(num_envs: int, **options: Any) -> TextVectorEnv:
    """An environment of whole steps."""
    if options.get("order") in ("confidence", "margin", "entropy"):
        options["actions"] = "distribution"
    return gymnasium.make_vec(  # type: ignore[return-value]
        "lm_gym/Unmasking-v0",
        num_envs=num_envs,
        tokenizer=build_tokenizer(),
        unit="sequence",
        autoreset_mode="SameStep",
        **options,
    )


def model(hidden: int, layers: int) -> dict[str, Any]:
    """Return the configuration of a BERT with fresh weights."""
    sizes = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_attention_heads": hidden // 16}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    common = {"model_type": "bert", "vocab_size": len(WORDS), "max_position_embeddings": 32}
    return {**common, **sizes, **dropout, "num_hidden_layers": layers}


def train_twin(arguments: argparse.Namespace, seed: int) -> LMPolicy:
    """Train a masked-diffusion model: any number of masks anywhere, each text with the same weight."""
    agent = Supervised(
        "LMPolicy",
        make(arguments.batch, per_step=None, mask_probability="uniform", clues=False),
        arguments.learning_rate,
        schedule="linear",
        warmup=0.05,
        policy_kwargs={"model": model(arguments.hidden, arguments.layers)},
        seed=seed,
    )
    agent.learn(arguments.twin_timesteps, log_interval=None)
    return agent.policy


def learn_order(arguments: argparse.Namespace, folder: Path, seed: int, step_cost: float) -> LMPolicy:
    """Train a head that decides when to fill positions, on the twin's model, which does not change."""
    agent = REINFORCE(
        "LMPolicy",
        make(64, group_size=8, order="learned", max_steps=16, reward="exact_match", step_cost=step_cost),
        arguments.order_learning_rate,
        policy_kwargs={"model": str(folder), "freeze": ["*"]},
        seed=seed,
    )
    agent.learn(arguments.order_timesteps, log_interval=None)
    return agent.policy


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--hidden", type=int, default=48)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=3e-3)
    parser.add_argument("--twin_timesteps", type=int, default=1_100_000)
    parser.add_argument("--order_learning_rate", type=float, default=5e-3)
    parser.add_argument("--order_timesteps", type=int, default=20_000)
    parser.add_argument("--step_costs", type=float, nargs="*", default=[0.0, 0.02])
    parser.add_argument("--keep", type=Path, help="folder for the models; by default they are not kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in arguments.seeds:
        twin = train_twin(arguments, seed)
        for order in ORDERS:
            for per_step in PER_STEP:
                env = make(128, split="test", order=order, per_step=per_step)
                found[f"{order} | {per_step}"].append(evaluate(twin, env).metrics)
        with tempfile.TemporaryDirectory() as temporary:
            folder = (arguments.keep or Path(temporary)) / f"twin-{seed}"
            twin.save_pretrained(folder)
            for cost in arguments.step_costs:
                policy = learn_order(arguments, folder, seed, cost)
                env = make(128, split="test", order="learned", max_steps=16)
                found[f"learned, step_cost={cost:g} | –"].append(evaluate(policy, env).metrics)
        print(f"seed {seed}", {name: round(rows[-1]["exact"], 3) for name, rows in found.items()}, flush=True)
    print("| order | a step | steps | solved | ± | cells right |\n|---|---:|---:|---:|---:|---:|")
    for name, rows in found.items():
        solved = [row["exact"] for row in rows]
        steps, right = (np.mean([row[metric] for row in rows]) for metric in ("steps", "accuracy"))
        print(f"| {name} | {steps:.1f} | {np.mean(solved):.3f} | {np.std(solved):.3f} | {right:.3f} |")


if __name__ == "__main__":
    main()
