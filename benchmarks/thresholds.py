"""The effect of a moved decision threshold on the expected cost of two-label classifiers, run by run.

    python benchmarks/thresholds.py STUDY_FOLDER [--cost 5]

The folder is that of a study such as configs/compare/sst2_costs.yaml. Each model decides for label 1 if its
probability is above a threshold: 1/2, cost / (1 + cost), which is best for a calibrated model, or the one with the
lowest cost on validation. The costs are those of the test split; calling label 0 by 1 costs `--cost`, the opposite 1.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lm_gym.agents import predict
from lm_gym.agents.runs.assembly import make_training_dataset
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.data import Corpus


def scores(run: Path, corpus: Corpus) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probability of label 1, and the right label, of every text."""
    column = corpus.columns["label"]
    gold = [int(column.names[int(value)]) for value in column.values]
    words = [[corpus.vocabulary[w] for w in corpus.words[a:b]] for a, b in pairwise(corpus.offsets)]
    found = predict(run, words)
    sure = np.array([row["probability"] for row in found], float)
    ones = np.array([str(row["predicted"]) == "1" for row in found])
    return np.where(ones, sure, 1 - sure), np.array(gold)


def expected_cost(p: NDArray[np.float64], gold: NDArray[np.int64], threshold: float, cost: float) -> float:
    chosen = p > threshold
    return float(np.where(gold == 0, cost * chosen, 1.0 * ~chosen).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cost", type=float, default=5.0)
    arguments = parser.parse_args()
    cost: float = arguments.cost
    rows: dict[str, list[list[float]]] = {}
    for folder in sorted(path.parent for path in arguments.folder.glob("*/report.json")):
        splits = make_training_dataset(parse_settings(["--config", str(folder / "config.yaml")])).splits
        p, gold = scores(folder, splits["validation"])
        tuned = min(np.unique(p), key=lambda threshold: expected_cost(p, gold, threshold, cost))
        p, gold = scores(folder, splits["test"])
        found = [expected_cost(p, gold, threshold, cost) for threshold in (0.5, cost / (1 + cost), tuned)]
        rows.setdefault(folder.name.rpartition("-")[0], []).append(found)
    print("| | runs | at 1/2 | at cost / (1 + cost) | tuned on validation |\n|---|---:|---:|---:|---:|")
    for name, runs in rows.items():
        means, spread = np.mean(runs, 0), np.std(runs, 0)
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(means, spread, strict=True)]
        print(f"| {name} | {len(runs)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
