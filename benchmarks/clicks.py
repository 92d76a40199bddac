"""Write the builtin users as files whose training split has clicks in place of relevance.

    python benchmarks/clicks.py FOLDER
    python -m agents.compare configs/compare/recommendation.yaml --seeds 3 --dataset FOLDER --out runs/compare/clicks

Validation and test keep the relevance, so a study of this folder shows how well agents that learn from clicks, which
favour the top of the logged slate, rank by relevance.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lm_gym.builtin.recommendations import recommendation_splits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for split, users in recommendation_splits().items():
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for user in users:
                learned = {**user, "relevance": user["clicks"]} if split == "train" else user
                file.write(json.dumps(learned) + "\n")


if __name__ == "__main__":
    main()
