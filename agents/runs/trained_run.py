"""The trained model of a run and its data, for evaluation and play."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.evaluation.predicting import SPLIT, Predictor, input_fields
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.runs.assembly import make_dataset, make_env, make_policy, make_training_dataset
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.options import given
from lm_gym.agents.runs.run_folder import RunFolder, RunFolderError
from lm_gym.agents.runs.run_parser import MAY_CHANGE
from lm_gym.agents.runs.saved_model import open_folder
from lm_gym.agents.runs.settings import Settings, SettingsError
from lm_gym.data import Dataset
from lm_gym.data.options import ReadOptions
from lm_gym.envs import TextVectorEnv, find_task

Which = Literal["best", "last"]


@dataclass(frozen=True)
class TrainedRun:
    """A run that can be evaluated or played.

    Attributes:
        folder: the run folder.
        settings: the settings of the run, possibly with other data.
        own_data: whether the data is that of the run. A validation split that was held out of train is then held out
            again.
        has_data: whether the data is known: that of the run, or other data.
    """

    folder: RunFolder
    settings: Settings
    own_data: bool
    has_data: bool

    def player(self, split: str, which: Which = "best") -> tuple[LMPolicy, TextVectorEnv]:
        """Load the model, and make the environment over a split for evaluation.

        Args:
            split: train, validation or test.
            which: "best" for the best model by the validation metric, "last" for the last checkpoint.

        Raises:
            RunFolderError: if the run has no such model yet.
            SettingsError, ValueError: if the data or the split cannot be used.
        """
        folder = self.folder
        if not self.has_data:
            raise SettingsError(f"{folder.path} is a model without the data of its run: give --env.dataset")
        settings = replace(self.settings, data={**self.settings.data, "max_overlap": 1.0})  # an error only in training
        go_on = self._require_best()
        checkpoint = folder.last_checkpoint() if which == "last" else None
        if which == "last" and checkpoint is None:
            raise RunFolderError(f"{folder.path} has no checkpoint yet: use the best model, or {go_on}")
        dataset = make_training_dataset(settings) if self.own_data else make_dataset(settings.env, settings.data)
        dataset = find_task(settings.env.id).relabel(dataset, self._labels())
        env = make_env(settings, dataset, split, self._tokenizer())
        unknown = ", ".join(sorted(set(env.task.labels) - set(self._labels())))
        if unknown:
            raise SettingsError(f"the model of {folder.path} does not have the labels {unknown}: use other data")
        if checkpoint is None:
            return make_policy(settings, env, str(folder.best)), env
        return find_algorithm(settings.algo).load(checkpoint.model, device=settings.device).policy, env

    def predictor(self) -> tuple[Predictor, ReadOptions]:
        """Make a predictor of the best model, and the options for reading texts. The data of the run is not needed.

        Raises:
            RunFolderError: if the run has no model yet.
        """
        self._require_best()
        settings = replace(self.settings, env=replace(self.settings.env, reward=None, reward_kwargs=None))
        task, best, tokenizer = find_task(settings.env.id), str(self.folder.best), self._tokenizer()

        def env_of(dataset: Dataset, rows: int) -> TextVectorEnv:
            evaluation = replace(settings.evaluation, num_envs=rows)
            return make_env(replace(settings, evaluation=evaluation), dataset, SPLIT, tokenizer)

        def policy_of(env: TextVectorEnv) -> LMPolicy:
            return make_policy(settings, env, best, tokens=settings.env.max_length)

        return Predictor(task, env_of, policy_of, settings.evaluation.num_envs, self._labels()), self._input_options()

    def _labels(self) -> list[str]:
        """Return the labels that the best model knows."""
        config = json.loads((self.folder.best / "config.json").read_text(encoding="utf-8"))
        return find_task(self.settings.env.id).labels_of(config)

    def _input_options(self) -> ReadOptions:
        """Return the fields of texts to predict, which are those that the model was trained with, and their columns."""
        names = self.folder.data_fields()
        if names is None:
            names = [*next(iter(make_training_dataset(self.settings).splits.values())).columns]
        fields = input_fields(find_task(self.settings.env.id), names)
        data = self.settings.data
        columns = {name: key for name, key in (data["columns"] or {}).items() if name in [f.name for f in fields]}
        kept = {key: data[key] for key in ("token_column", "text_column", "delimiter", "header")}
        return ReadOptions(fields=fields, columns=columns, **kept)

    def _require_best(self) -> str:
        """Return how to train further; raise RunFolderError if there is no best model."""
        go_on = f"train it with --resume {self.folder.path}"
        if not self.folder.best.is_dir():
            raise RunFolderError(f"{self.folder.path} has no best model yet: {go_on}")
        return go_on

    def _tokenizer(self) -> str | None:
        """Return the folder of the tokenizer saved with the best model; None if the settings name another one."""
        best = self.folder.best
        own = (best / "tokenizer.json").is_file() and not str(self.settings.env.tokenizer).endswith(".json")
        return str(best) if own else None


def open_run(path: Path, overrides: Sequence[str] = (), changes: Sequence[str] = MAY_CHANGE) -> TrainedRun:
    """Open a run, or a model that a run has saved.

    Args:
        path: the run folder; or the folder of a saved model, or its id on the hub as `hub:<id>`.
        overrides: command-line options of settings that may change, usually other data.
        changes: settings that may change, besides the options of the task.

    Raises:
        RunFolderError: if there is no run.
        SettingsError: if an override is unknown or may not be changed.
    """
    folder = open_folder(path)
    saved = parse_settings(["--config", str(folder.config)])
    settings = parse_settings(["--config", str(folder.config), *overrides])
    _refuse_changes(saved, settings, changes)
    has_data = folder.has_data or any(key == "env.dataset" for _, key, _ in given(overrides))
    return TrainedRun(folder, settings, settings.env == saved.env, has_data)


def _refuse_changes(saved: Settings, settings: Settings, changes: Sequence[str]) -> None:
    before, after = saved.flat(), settings.flat()
    options = tuple(f"env.{option.name}" for option in fields(find_task(saved.env.id).Options))
    for key in before | after:
        if before.get(key) != after.get(key) and not key.startswith((*changes, *options)):
            raise SettingsError(f"--{key} is fixed by the run, {before.get(key)!r}: leave it out")
