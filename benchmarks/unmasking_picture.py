"""The picture of the order in which a learned policy fills Sudokus.

    python -m benchmarks.unmasking_picture runs/unmasking/sudoku-reinforce-0.02-0 docs/assets/unmasking.svg

Draws the first test puzzles of five steps or more that the policy of a folder solves. Given digits are grey; the colour
and the small number of another cell are the step that filled it.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.unmasking import Study
from lm_gym.agents.evaluation.playing import lm_predictor
from lm_gym.agents.evaluation.stepping import play_steps
from lm_gym.agents.files import write_text

CELL, GAP, PUZZLES = 44, 36, 3
LIGHT, DARK = np.array([222, 235, 247]), np.array([8, 69, 148])  # of the first and of the last step


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="folder of a policy with a learned order")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--steps", type=int, default=5, help="minimum number of steps of a puzzle")
    arguments = parser.parse_args()
    study = Study("sudoku", arguments.policy.parent, 1.0)
    env = study.env(384, split="test", order="learned", max_steps=study.max_steps)
    env.reset(options={"indices": np.arange(384) % env.num_texts})
    given = env.episodes.observation["input_ids"].copy()
    places = env.episodes.observation["positions"].copy()
    played = play_steps(lm_predictor(study.policy(str(arguments.policy), env), env.task), env)
    right = (played.prediction.choices == env.targets).all(1)
    chosen = np.flatnonzero(right & (played.steps >= arguments.steps))[:PUZZLES]
    if not len(chosen):
        raise SystemExit(f"the policy solves no test puzzle in {arguments.steps} steps or more: lower --steps")
    panels = []
    for number, row in enumerate(chosen.tolist()):
        digits, steps = given[row].copy(), np.zeros(given.shape[1], np.int64)
        inside = played.prediction.choices[row] < env.task.shape.choices
        digits[places[row][inside]] = played.prediction.choices[row][inside]
        steps[places[row][inside]] = played.when[row][inside] + 1
        start = len(env.task.tokenizer.prefix)
        tokens = [env.task.choice_name(int(digit)) for digit in digits[start : start + 16]]
        panels.append(panel(tokens, steps[start : start + 16], number * (4 * CELL + GAP)))
    width = len(chosen) * (4 * CELL + GAP) - GAP
    text = "\n".join(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 {width + 4} {4 * CELL + 4}" width="{width + 4}"'
    write_text(arguments.picture, f'{head} font-family="sans-serif">\n{text}\n</svg>\n')


def panel(digits: list[str], steps: NDArray[np.int64], left: int) -> str:
    """Return a grid as SVG: 16 digits, and the step that filled each cell, 0 for given ones."""
    last, parts = int(steps.max()), []
    for cell, (digit, step) in enumerate(zip(digits, steps.tolist(), strict=True)):
        x, y = left + cell % 4 * CELL, cell // 4 * CELL
        share = (step - 1) / max(1, last - 1)
        red, green, blue = (LIGHT + share * (DARK - LIGHT)).astype(int).tolist() if step else (225, 225, 225)
        ink = "#fff" if step and share > 0.5 else "#111"
        parts.append(
            f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="rgb({red},{green},{blue})" stroke="#777"/>'
            f'<text x="{x + CELL / 2}" y="{y + CELL / 2 + 7}" font-size="20" text-anchor="middle" fill="{ink}"'
            f' font-weight="{"normal" if step else "bold"}">{digit}</text>'
        )
        if step:
            parts.append(
                f'<text x="{x + CELL - 4}" y="{y + 12}" font-size="10" text-anchor="end" fill="{ink}">{step}</text>'
            )
    for line in range(0, 5, 2):
        at = line * CELL
        parts.append(f'<path d="M{left + at} 0v{4 * CELL}M{left} {at}h{4 * CELL}" stroke="#111" stroke-width="2"/>')
    return "\n".join(parts)


if __name__ == "__main__":
    main()
