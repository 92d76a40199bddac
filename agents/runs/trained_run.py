"""A run's trained model and its data, opened to be played."""

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.runs.assembly import make_dataset, make_env, make_policy, make_training_dataset
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.run_folder import RunFolder, RunFolderError
from lm_gym.agents.runs.settings import Settings, SettingsError
from lm_gym.envs import TextVectorEnv, find_task

Which = Literal["best", "last"]
MAY_CHANGE = ("env.dataset", "env.max_length", "data.", "evaluation.", "device", "threads")  # and the task's options


def run_parser(program: str, description: str | None, split: str, keys: str = "") -> ArgumentParser:
    """The parser of a command that plays a run: its folder, its `--split`, `split` by default.

    Args:
        program: what is typed.
        description: of the command.
        split: the default.
        keys: what a reader presses, for the help's end.
    """
    may_change = "Settings of the run that may be given anew: " + ", ".join(f"--{key}" for key in MAY_CHANGE)
    may_change += ", and the options of the environment's task"
    parser = ArgumentParser(
        prog=program,
        description=description,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=(f"Keys: {keys}.\n" if keys else "") + may_change,
    )
    parser.add_argument("run_dir", type=Path, help="the run folder")
    parser.add_argument("--split", default=split, help=f"train, validation or test; by default {split}")
    return parser


@dataclass(frozen=True)
class TrainedRun:
    """A run to be played.

    Attributes:
        folder: of the run.
        settings: of the run, or with other data.
        own_data: the data is what the run was trained on; a validation split held out of train is held out again.
    """

    folder: RunFolder
    settings: Settings
    own_data: bool

    def player(self, split: str, which: Which = "best") -> tuple[LMPolicy, TextVectorEnv]:
        """The model, and the environment over a split as evaluations play it.

        Args:
            split: train, validation or test.
            which: the best model by the validation metric, or the last checkpoint.

        Raises:
            RunFolderError: the run has not come so far.
            SettingsError, ValueError: the data, or the split, can't be played.
        """
        folder = self.folder
        settings = replace(self.settings, data={**self.settings.data, "max_overlap": 1.0})  # refused for training only
        go_on = f"train it with --resume {folder.path}"
        if not folder.best.is_dir():
            raise RunFolderError(f"{folder.path} has no best model yet: {go_on}")
        checkpoint = folder.last_checkpoint() if which == "last" else None
        if which == "last" and checkpoint is None:
            raise RunFolderError(f"{folder.path} has no checkpoint yet: take the best model, or {go_on}")
        dataset = make_training_dataset(settings) if self.own_data else make_dataset(settings.env, settings.data)
        dataset = find_task(settings.env.id).relabel(dataset, _labels(folder.best))
        own = (folder.best / "tokenizer.json").is_file() and not str(settings.env.tokenizer).endswith(".json")
        env = make_env(settings, dataset, split, str(folder.best) if own else None)
        unknown = ", ".join(sorted(set(env.task.choice_names or ()) - set(_labels(folder.best))))
        if unknown:
            raise SettingsError(f"the model of {folder.path} does not know the labels {unknown}: play other data")
        if checkpoint is None:
            return make_policy(settings, env, str(folder.best)), env
        return find_algorithm(settings.algo).load(checkpoint.model, device=settings.device).policy, env


def open_run(path: Path, overrides: Sequence[str] = ()) -> TrainedRun:
    """Open the run in a folder.

    Args:
        path: the run folder.
        overrides: options of the command line that may be given anew (`MAY_CHANGE`), mostly other data.

    Raises:
        RunFolderError: there is no run.
        SettingsError: overrides that are unknown, or the run's own.
    """
    folder = RunFolder.open(path)
    saved = parse_settings(["--config", str(folder.config)])
    settings = parse_settings(["--config", str(folder.config), *overrides])
    _refuse_changes(saved, settings)
    return TrainedRun(folder, settings, own_data=settings.env == saved.env)


def _refuse_changes(saved: Settings, settings: Settings) -> None:
    before, after = saved.flat(), settings.flat()
    options = tuple(f"env.{option.name}" for option in fields(find_task(saved.env.id).Options))
    for key in before | after:
        if before.get(key) != after.get(key) and not key.startswith(MAY_CHANGE + options):
            raise SettingsError(f"--{key} is the run's own, {before.get(key)!r}: leave it out")


def _labels(model: Path) -> list[str]:
    """The labels of a checkpoint, in order."""
    labels = json.loads((model / "config.json").read_text(encoding="utf-8")).get("id2label", {})
    return [labels[number] for number in sorted(labels, key=int)]
