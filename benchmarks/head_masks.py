"""docs/results/random_heads.md: attention heads removed by GA and SA, compared with random masks of the same size.

    python benchmarks/head_masks.py runs/NER-v0/supervised/…/best

The model is a trained NER tagger. The fitness of a search is entity F1 minus a price for the fraction of heads kept.
The default price was chosen on validation to cost at most one point of F1 (0.05 cost two).
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import torch as th

import lm_gym  # noqa: F401  registers the environments
from lm_gym.agents.algorithms.presets import GA, SA
from lm_gym.agents.evaluation.playing import evaluate

SEARCHES = {"ga": (GA, {"popsize": 16}), "sa": (SA, {"popsize": 16, "step": None})}
TEXTS = 256  # texts per generation; with fewer, noise hides the value of a head
RANDOM_MASKS = 10


@dataclass(frozen=True)
class Found:
    """A mask: what it removes, and entity F1 with it."""

    removed: int
    validation: float
    test: float


def make_env(split: str, num_envs: int = 64, **more: object) -> gymnasium.vector.VectorEnv:
    return gymnasium.make_vec(
        "lm_gym/NER-v0",
        num_envs=num_envs,
        unit="sequence",
        actions="distribution",
        reward="f1",
        split=split,
        max_length=128,
        **more,
    )


def scores(agent: GA | SA, mask: th.Tensor, envs: dict[str, gymnasium.vector.VectorEnv]) -> Found:
    agent.space.write(mask)
    f1 = {split: evaluate(agent.policy, env).metrics["entity_f1"] for split, env in envs.items()}
    return Found(int((~mask).sum()), f1["validation"], f1["test"])


def search(name: str, price: float, seed: int, model: str, budget: int) -> tuple[GA | SA, th.Tensor]:
    """One search; `budget` in forward passes."""
    kind, kwargs = SEARCHES[name]
    env = make_env("train", TEXTS, autoreset_mode="SameStep")
    agent = kind(
        "LMPolicy",
        env,
        seed=seed,
        policy_kwargs={"model": model},
        search_space="head_mask",
        search_space_kwargs={"price": price},
        optimizer_kwargs=kwargs,
        device="cpu",
    )
    agent.learn(round(budget / agent.forward_passes_per_pass * agent.timesteps_per_pass))
    return agent, agent.optimizer.centre.bool().clone()


def mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a trained NER tagger: the best/ of a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--price", type=float, default=0.002)
    parser.add_argument("--budget", type=int, default=49_152, help="forward passes of a search")
    parser.add_argument("--write", type=Path, default=Path(__file__).parents[1] / "docs/results/random_heads.md")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    envs = {split: make_env(split) for split in ("validation", "test")}
    rows, whole, heads = [], None, 0
    for name in SEARCHES:
        generator, masks, random = th.Generator().manual_seed(0), [], []
        for seed in range(arguments.seeds):
            agent, mask = search(name, arguments.price, seed, arguments.model, arguments.budget)
            whole, heads = whole or scores(agent, th.ones_like(mask), envs), len(mask)
            masks.append(scores(agent, mask, envs))
            print(name, seed, masks[-1], flush=True)
            for _ in range(RANDOM_MASKS):
                mask = th.ones(heads, dtype=th.bool)
                mask[th.randperm(heads, generator=generator)[: masks[-1].removed]] = False
                random.append(scores(agent, mask, envs))
        rows += [(name, masks), (f"random masks of the same size as {name}'s", random)]
    assert whole is not None
    lines = [
        "# Attention heads removed, compared with random masks of the same size",
        "",
        f"`python benchmarks/head_masks.py MODEL`: builtin NER, `tiny` ({heads} heads), entity F1. Mean (minimum to",
        f"maximum) over {arguments.seeds} seeds, {arguments.budget:,} forward passes per search, and",
        f"{RANDOM_MASKS} random masks per mask found. Keeping all heads costs {arguments.price:g} of fitness.",
        "",
        "| | heads removed | validation F1 | test F1 |",
        "|---|---:|---:|---:|",
        f"| all heads | 0 | {whole.validation:.3f} | {whole.test:.3f} |",
    ]
    for title, found in rows:
        removed = statistics.mean(f.removed for f in found)
        cells = mean([f.validation for f in found]), mean([f.test for f in found])
        lines.append(f"| {title} | {removed:.1f} ({removed / heads:.0%}) | {cells[0]} | {cells[1]} |")
    text = "\n".join(lines) + "\n"
    arguments.write.parent.mkdir(parents=True, exist_ok=True)
    arguments.write.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
