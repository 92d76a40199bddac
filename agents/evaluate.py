"""Evaluate the best model of a run on a split.

Prints the task's reports, or its metrics if it has no reports, and writes them and the predictions to the run folder.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from lm_gym.agents.evaluation.predictions import format_predictions
from lm_gym.agents.evaluation.report import reports
from lm_gym.agents.files import refuse_folder, write_json, write_text
from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolder, RunFolderError
from lm_gym.agents.runs.run_parser import RunParser, read_options, run_parser, say_loading
from lm_gym.agents.runs.terminal import Terminal

if TYPE_CHECKING:
    from lm_gym.envs import TextVectorEnv
    from lm_gym.tasks import Evaluation


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    options, overrides = read_options(_parser(), arguments)
    show_warnings_plainly()
    say_loading(options.run_dir, results=False)
    from lm_gym.agents.evaluation.playing import evaluate as play  # loads the model libraries
    from lm_gym.agents.runs.trained_run import open_run

    try:
        refuse_folder(options.predictions)
        run = open_run(options.run_dir, overrides)
        policy, env = run.player(options.split)
        evaluation = play(policy, env)
        written = write(run.folder, env, evaluation, options)
    except (ValueError, OSError, RunFolderError) as error:
        fail(program("evaluate"), error)
    console = Terminal()
    name = f"{env.dataset.name}, {env.split}: {len(evaluation.texts):,} texts"
    console.say(Text(name, "bold"))
    for part in (*(f"note: {note}" for note in env.dataset.notes), *reports(evaluation)):
        console.say(f"\n{part}")
    console.say("\n" + "\n".join(map(str, written)))


def write(folder: RunFolder, env: TextVectorEnv, evaluation: Evaluation, options: Namespace) -> list[Path]:
    """Write the reports and predictions of an evaluation, and return their paths."""
    dataset, split = env.dataset, env.split
    stem = folder.results / f"evaluation-{dataset.name.replace('/', '-')}-{split}"
    predictions = options.predictions or stem.with_name(f"{stem.name}.{env.task.predictions_suffix}")
    predictions.parent.mkdir(parents=True, exist_ok=True)
    write_text(predictions, format_predictions(evaluation))
    content = {
        "dataset": dataset.name,
        "split": split,
        "fingerprint": dataset.fingerprint,
        "texts": len(evaluation.texts),
        "notes": list(dataset.notes),
        "metrics": evaluation.metrics,
        **{f"{name}_report": report.to_dict() for name, report in evaluation.reports.items()},
    }
    numbers, text = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.txt")
    write_json(numbers, content)
    write_text(text, "\n\n".join(reports(evaluation)) + "\n")
    return [text, numbers, predictions]


def _parser() -> RunParser:
    parser = run_parser(program("evaluate"), __doc__, "test")
    parser.add_argument("--predictions", type=Path, help="file for the predictions, in the task's format")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
