"""Plays the best model of a run on a split: `python -m agents.evaluate RUN_DIR`, see --help.

Prints the entity report and the token-level report (masked LM: its metrics) and writes them, and the predictions, into
the run folder.
"""

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from agents.assembly import make_dataset, make_env, make_policy, make_training_dataset
from agents.command_line import fail, parse_settings, show_warnings_plainly
from agents.evaluation import Evaluation
from agents.evaluation import evaluate as play
from agents.predictions import format_predictions, is_tagging
from agents.report import reports
from agents.run_folder import RunFolder, RunFolderError, write_json, write_text
from agents.settings import Settings, SettingsError
from lm_gym.data import Dataset

PROGRAM = "python -m agents.evaluate"
_MAY_CHANGE = ("env.dataset", "env.max_length", "env.mask_probability", "data.", "evaluation.", "device", "threads")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's by default."""
    options, overrides = _parser().parse_known_args(arguments)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of writing checkpoints
    show_warnings_plainly()
    try:
        folder = RunFolder.open(options.run_dir)
        saved = parse_settings(["--config", str(folder.config)])
        settings = parse_settings(["--config", str(folder.config), *overrides])
        _refuse_changes(saved, settings)
        evaluation = evaluate_run(folder, settings, options.split, own_data=settings.env == saved.env)
        written = write(folder, evaluation, options)
    except (ValueError, OSError, RunFolderError) as error:
        fail(PROGRAM, error)
    console = Console()
    name = f"{evaluation.env.dataset.name}, {evaluation.env.split}: {len(evaluation.texts):,} texts"
    console.print(f"[bold]{name}[/]", highlight=False)
    for part in reports(evaluation):
        console.print(f"\n{part}", highlight=False, markup=False, soft_wrap=True)
    console.print("\n" + "\n".join(map(str, written)), highlight=False, markup=False, soft_wrap=True)


def evaluate_run(folder: RunFolder, settings: Settings, split: str, *, own_data: bool) -> Evaluation:
    """Play a run's best model.

    Args:
        folder: of the run.
        settings: of the run, or with other data.
        split: train, validation or test.
        own_data: the data is what the run was trained on; a validation split held out of train is held out again.
    """
    if not folder.best.is_dir():
        raise RunFolderError(f"{folder.path} has no best model yet: train it with --resume {folder.path}")
    dataset = make_training_dataset(settings) if own_data else make_dataset(settings.env, settings.data)
    dataset = _with_labels(dataset, folder.best)
    own = (folder.best / "tokenizer.json").is_file() and not str(settings.env.tokenizer).endswith(".json")
    env = make_env(settings, dataset, split, str(folder.best) if own else None)
    return play(make_policy(settings, env, str(folder.best)), env)


def write(folder: RunFolder, evaluation: Evaluation, options: Namespace) -> list[Path]:
    """Write the reports and the predictions of an evaluation; their paths come back."""
    dataset, split = evaluation.env.dataset, evaluation.env.split
    stem = folder.path / f"evaluation-{dataset.name.replace('/', '-')}-{split}"
    predictions = options.predictions or stem.with_name(f"{stem.name}.{'conll' if is_tagging(evaluation) else 'jsonl'}")
    predictions.parent.mkdir(parents=True, exist_ok=True)
    write_text(predictions, format_predictions(evaluation))
    content = {
        "dataset": dataset.name,
        "split": split,
        "fingerprint": dataset.fingerprint,
        "texts": len(evaluation.texts),
        "metrics": evaluation.metrics,
    }
    if evaluation.entity_report is not None and evaluation.token_report is not None:
        content["entity_report"] = evaluation.entity_report.to_dict()
        content["token_report"] = evaluation.token_report.to_dict()
    numbers, text = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.txt")
    write_json(numbers, content)
    write_text(text, "\n\n".join(reports(evaluation)) + "\n")
    return [text, numbers, predictions]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Settings of the run that may be given anew: " + ", ".join(f"--{key}" for key in _MAY_CHANGE),
    )
    parser.add_argument("run_dir", type=Path, help="the run folder")
    parser.add_argument("--split", default="test", help="train, validation or test (default)")
    parser.add_argument("--predictions", type=Path, help="where to write them: word, gold, predicted (or JSON lines)")
    return parser


def _refuse_changes(saved: Settings, settings: Settings) -> None:
    before, after = saved.flat(), settings.flat()
    for key in before | after:
        if before.get(key) != after.get(key) and not key.startswith(_MAY_CHANGE):
            raise SettingsError(f"--{key} is the run's own, {before.get(key)!r}: leave it out")


def _with_labels(dataset: Dataset, model: Path) -> Dataset:
    """The dataset with its tags numbered as the model numbers its labels."""
    if not dataset.tag_names:
        return dataset
    labels = json.loads((model / "config.json").read_text(encoding="utf-8")).get("id2label", {})
    names = [labels[number] for number in sorted(labels, key=int)]
    return dataset.with_tag_names(names) if "O" in names else dataset


if __name__ == "__main__":
    main(sys.argv[1:])
