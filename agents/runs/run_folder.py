"""The folder of one training run: its files, how they are written, and how an interrupted run is found again.

    config.yaml     complete settings; --config runs them again
    command.txt     the commands that started and resumed the run
    versions.json   Python, packages and machine
    data.json       name, fingerprint and fields of the data
    metrics.jsonl   one line per log, keyed by timesteps
    tensorboard/    the same as events
    loggers.json    ids that experiment trackers gave the run
    checkpoints/    <timesteps>/model.zip, state.json and their checksums; the newest two are kept
    best/           the best model by the validation metric, a Hugging Face checkpoint, its card and its checksums
    predictions.*   predictions of the last evaluation
    report.json     the results; the file exists only when the run is finished
    report.md       the same for readers

Every file and folder is written under another name, synced to disk and renamed, so it appears whole or not at all.
"""

import fcntl
import importlib.metadata
import json
import platform
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lm_gym.agents.files import find_damage, settle_folder, sync, write_folder, write_json, write_text
from lm_gym.data import Dataset

_BEFORE_CONFIG = {".lock", "command.txt", "versions.json", "data.json"}  # what `create` writes before config.yaml
VERSIONED = ("lm-gym", "torch", "transformers", "tokenizers", "stable-baselines3", "gymnasium", "numpy")


class RunFolderError(Exception):
    """A run folder cannot be used as requested. The message says what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: the archive of the model and the state of the run."""

    path: Path
    timesteps: int
    state: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The archive, which the algorithm's `load` reads."""
        return self.path / "model.zip"


class RunFolder:
    """Paths and files of one run.

    Use `create` for a new run and `open` for an existing one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best"
        self.results = path  # of evaluations
        self.report = path / "report.json"
        self.data = path / "data.json"
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, path: Path, config: str, command: str, dataset: Dataset) -> "RunFolder":
        """Create a new run folder, or create one again whose process was killed during its creation.

        Args:
            path: the new folder; parent folders are created too.
            config: text of config.yaml.
            command: the command line, kept in command.txt.
            dataset: the data, whose fingerprint and fields are kept in data.json.

        Raises:
            RunFolderError: the path already exists.
        """
        check_new(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        folder.lock()
        with ExitStack() as held:
            held.callback(folder.unlock)
            write_text(path / "command.txt", command + "\n")
            write_json(path / "versions.json", versions())
            fields = [*next(iter(dataset.splits.values())).columns]
            known = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, "fields": fields}
            write_json(folder.data, known)
            write_text(folder.config, config)  # last: a folder with a config.yaml is a run folder
            held.pop_all()
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run folder.

        Raises:
            RunFolderError: there is no run folder at `path`.
        """
        folder = cls(path)
        if path.is_file():
            raise RunFolderError(f"{path} is a file, not a run folder")
        if not path.is_dir():
            raise RunFolderError(f"{path} does not exist{_siblings(path)}")
        if not folder.config.is_file():
            if _is_half_made(path):
                raise RunFolderError(f"{path} was left before its run began: start it again with --run_dir {path}")
            raise RunFolderError(f"{path} is not a run folder, because it has no config.yaml{_inside(path)}")
        return folder

    def check_data(self, dataset: Dataset) -> None:
        """Raise RunFolderError if the data has changed since the run began. Runs of version 0.1 did not record it."""
        if not self.data.is_file():
            return
        kept = read_json(self.data).get("fingerprint")
        if kept != dataset.fingerprint:
            raise RunFolderError(
                f"the data has changed since the run began: the fingerprint of {dataset.name} was {kept} and is "
                f"{dataset.fingerprint}; restore the data, or start a new run with --config {self.config} --run_dir …"
            )

    @property
    def has_data(self) -> bool:
        """Whether the folder says where the data of the run is."""
        return True

    def data_fields(self) -> list[str] | None:
        """Return the names of the fields of the data besides words and tags; None if the run did not record them."""
        fields: list[str] | None = read_json(self.data).get("fields") if self.data.is_file() else None
        return fields

    def lock(self) -> None:
        """Lock the folder for this process. The system removes the lock when the process ends, however it ends.

        Raises:
            RunFolderError: if another process has the lock.
        """
        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            raise RunFolderError(f"another process is writing to {self.path}: wait for it or end it") from error
        settle_folder(self.best)
        self._settle_checkpoints()

    def unlock(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.close()

    def save_checkpoint(
        self, timesteps: int, save: Callable[[Path], None], state: Mapping[str, Any], keep: int = 2
    ) -> None:
        """Write a checkpoint, and then remove all except the newest ones.

        Args:
            timesteps: positions decided so far.
            save: a function that writes the model's archive to a given path.
            state: the rest of the run's state, as JSON.
            keep: the number of checkpoints to keep.
        """

        def write(folder: Path) -> None:
            save(folder / "model.zip")
            write_json(folder / "state.json", dict(state))

        if self.metrics.exists():
            sync(self.metrics)  # the curve must be on disk before the checkpoint
        write_folder(self.checkpoints / f"{timesteps:012d}", write)
        for stale in self._checkpoint_paths()[:-keep]:
            shutil.rmtree(stale)

    def last_checkpoint(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None if the run was interrupted before its first one.

        A warning names the damaged checkpoints that it skips.

        Raises:
            RunFolderError: if all checkpoints are damaged.
        """
        damaged: list[str] = []
        for path in reversed(self._checkpoint_paths()):
            fault = _fault(path)
            if fault is None:
                if damaged:
                    warnings.warn(f"falling back to the checkpoint {path}: {'; '.join(damaged)}", stacklevel=2)
                state = json.loads((path / "state.json").read_text(encoding="utf-8"))
                return Checkpoint(path, int(path.name), state)
            damaged.append(f"{path}: {fault}")
        if damaged:
            raise RunFolderError(
                f"no checkpoint is intact; start again with another --run_dir, or from {self.best}: "
                + "; ".join(damaged)
            )
        return None

    def _settle_checkpoints(self) -> None:
        for left in sorted(self.checkpoints.glob(".*")):
            settle_folder(self.checkpoints / left.name[1:].partition(".")[0])

    def _checkpoint_paths(self) -> list[Path]:
        return sorted(path for path in self.checkpoints.glob("[0-9]*") if path.is_dir())


def check_new(path: Path) -> None:
    """Raise RunFolderError if `path` already has files that a new run would mix with or overwrite."""
    if path.is_file():
        raise RunFolderError(f"{path} is a file: give --run_dir another folder")
    if path.is_dir() and not _is_half_made(path):
        raise RunFolderError(
            f"{path} exists and is not empty: continue that run with --resume {path}, or give --run_dir another folder"
        )


def _is_half_made(path: Path) -> bool:
    """Return whether a folder contains at most the files that `RunFolder.create` writes before a run begins."""
    names = {entry.name for entry in path.iterdir()}
    return names <= _BEFORE_CONFIG | {f".{name}.tmp" for name in (*_BEFORE_CONFIG, "config.yaml")}


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of a run folder.

    Raises:
        RunFolderError: the file is damaged or cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunFolderError(f"{path} is damaged: {error}") from error


def versions() -> dict[str, str]:
    """Collect the versions of Python and of the packages that affect results, and the machine."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
    }
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _fault(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint's files, or None. Version 0.1 wrote only the archive's checksums."""
    damage = find_damage(checkpoint)
    if damage is not None:
        return damage
    for name in ("state.json", "model.zip"):
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
    try:
        json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        with zipfile.ZipFile(checkpoint / "model.zip") as archive:
            bad = archive.testzip()
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        return str(error)
    return None if bad is None else f"model.zip: {bad} fails its checksum"


def _siblings(path: Path) -> str:
    parent = path.parent
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
    return f"; {parent} has {', '.join(names[-5:])}" if names else ""


def _inside(path: Path) -> str:
    found = [config.parent for levels in ("*", "*/*", "*/*/*") for config in path.glob(f"{levels}/config.yaml")]
    newest = sorted(found, key=lambda folder: folder.stat().st_mtime)[-5:]
    return f"; run folders in it: {', '.join(map(str, newest))}" if newest else ""
