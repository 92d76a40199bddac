"""Outputs for the numbers of a run besides metrics.jsonl: TensorBoard and experiment trackers, by name (`--logger`).

A tracker's library is imported only if it is named. A resumed run continues the same remote run: trackers that give ids
keep theirs in `loggers.json`. The steps between the last checkpoint and a kill are then sent twice, with equal values.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from stable_baselines3.common.logger import KVWriter, Logger
from tensorboard.compat.proto.summary_pb2 import Summary

from lm_gym.agents.files import write_json
from lm_gym.agents.runs.curve import EventsWriter, MetricsWriter, let_the_second_pass, numbers_of
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.registry import Registry

PROJECT = "lm-gym"


@dataclass(frozen=True)
class LoggedRun:
    """The facts about a run that a logger gets.

    Attributes:
        folder: the run folder.
        name: name of the run in a tracker.
        settings: all settings by dotted key.
        first: summaries at the beginning of TensorBoard's events.
    """

    folder: Path
    name: str
    settings: Mapping[str, Any]
    first: Iterable[Summary] = ()

    def kept_id(self, logger: str) -> str | None:
        """Return the id that a tracker gave the run, or None."""
        return self._ids().get(logger)

    def keep_id(self, logger: str, id_: str) -> None:
        """Keep the id that a tracker gave the run."""
        write_json(self.folder / "loggers.json", {**self._ids(), logger: id_})

    def _ids(self) -> dict[str, str]:
        path = self.folder / "loggers.json"
        ids: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return ids


class Tracker(KVWriter):
    """Base class of writers to experiment trackers.

    Attributes:
        package: the package that the tracker needs.
    """

    package: ClassVar[str]

    def __init__(self, run: LoggedRun) -> None:
        self._library: Any = import_module(self.package)
        try:
            self._begin(run)
        except Exception as error:  # each library has its own exceptions
            raise SettingsError(f"--logger {self.package}: {' '.join(str(error).split())}") from error

    @abstractmethod
    def _begin(self, run: LoggedRun) -> None:
        """Begin the remote run, or continue it."""

    @abstractmethod
    def _send(self, numbers: dict[str, float], step: int) -> None:
        """Send the numbers of a log."""

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Send the numbers among `key_values`. Called by the logger."""
        numbers = numbers_of(key_values)
        if numbers:
            self._send(numbers, step)


class Wandb(Tracker):
    """Weights & Biases; without a network, set WANDB_MODE=offline and `wandb sync` later."""

    package = "wandb"

    def _begin(self, run: LoggedRun) -> None:
        self._run = self._library.init(
            project=PROJECT,
            name=run.name,
            id=run.kept_id(self.package),
            resume="allow",
            dir=str(run.folder),
            config=dict(run.settings),
        )
        run.keep_id(self.package, self._run.id)

    def _send(self, numbers: dict[str, float], step: int) -> None:
        self._run.log(numbers, step=step)

    def close(self) -> None:
        """Finish the remote run."""
        self._run.finish()


class Trackio(Tracker):
    """Trackio, which keeps its data on this machine and shows it with `trackio show`."""

    package = "trackio"

    def _begin(self, run: LoggedRun) -> None:
        self._run = self._library.init(project=PROJECT, name=run.name, resume="allow", config=dict(run.settings))

    def _send(self, numbers: dict[str, float], step: int) -> None:
        self._library.log(numbers, step=step)

    def close(self) -> None:
        """Finish the remote run."""
        self._library.finish()


class MLflow(Tracker):
    """MLflow; MLFLOW_TRACKING_URI names a server or a local store."""

    package = "mlflow"

    def _begin(self, run: LoggedRun) -> None:
        self._library.set_experiment(PROJECT)
        kept = run.kept_id(self.package)
        started = self._library.start_run(run_id=kept, run_name=run.name)
        if kept is None:
            self._library.log_params({key: str(value)[:500] for key, value in run.settings.items()})
            run.keep_id(self.package, started.info.run_id)

    def _send(self, numbers: dict[str, float], step: int) -> None:
        self._library.log_metrics(numbers, step=step)

    def close(self) -> None:
        """Finish the remote run."""
        self._library.end_run()


def _tensorboard(run: LoggedRun) -> KVWriter:
    """TensorBoard events in the run folder."""
    folder = run.folder / "tensorboard"
    let_the_second_pass(folder)
    events = EventsWriter(str(folder))
    file: Any = events.writer.file_writer
    for summary in run.first:
        file.add_summary(summary)
    return events


MakeLogger = Callable[[LoggedRun], KVWriter]
_ENTRIES: dict[str, MakeLogger] = {
    "tensorboard": _tensorboard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": MLflow,
}
LOGGERS = Registry("logger", _ENTRIES)


def find_loggers(names: str) -> Sequence[MakeLogger]:
    """Find loggers by their names, with commas between them; "none" for none.

    Raises:
        ValueError: a logger is unknown.
        SettingsError: a package is not installed; the message says what to install.
    """
    found = []
    for name in [] if names == "none" else names.split(","):
        logger = LOGGERS.find(name.strip())
        package = getattr(logger, "package", None)
        if package is not None and find_spec(package) is None:
            raise SettingsError(f"--logger {name} needs the package {package}: pip install 'lm-gym[{package}]'")
        found.append(logger)
    return found


def open_logger(run: LoggedRun, loggers: Sequence[MakeLogger] = (_tensorboard,)) -> Logger:
    """Make a Stable-Baselines3 logger that appends to metrics.jsonl in the run folder, and to others."""
    made: list[KVWriter] = [MetricsWriter(run.folder / "metrics.jsonl")]
    try:
        made += [make(run) for make in loggers]
    except Exception:
        for writer in made:
            writer.close()
        raise
    return Logger(str(run.folder / "tensorboard"), made)
