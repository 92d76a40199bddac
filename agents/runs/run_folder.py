"""The folder of one training run: what it holds, how it is written, how it is found again after a kill.

    config.yaml     complete settings, to be run again with --config
    command.txt     the commands that started and resumed the run
    versions.json   Python, packages and machine
    metrics.jsonl   one line per log, keyed by timesteps
    tensorboard/    the same as events
    checkpoints/    <timesteps>/model.zip and state.json; the newest two are kept
    best/           the best model by the validation metric, a Hugging Face checkpoint
    predictions.*   of the last evaluation
    report.json     what the run reached; it stands only when the run is finished
    report.md       the same to read

Every file and folder appears whole or not at all: written under another name, synced to disk, renamed.
"""

import fcntl
import importlib.metadata
import json
import platform
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lm_gym.agents.files import settle_folder, sync, write_folder, write_json, write_text

VERSIONED = ("lm-gym", "torch", "transformers", "tokenizers", "stable-baselines3", "gymnasium", "numpy")


class RunFolderError(Exception):
    """A run folder that cannot be used as asked; the message names the way out."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: the model's archive and the state of the run around it."""

    path: Path
    timesteps: int
    state: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The archive that the algorithm's `load` takes."""
        return self.path / "model.zip"


class RunFolder:
    """Paths and files of one run.

    Make one with `create` (a new run) or `open` (one that stands).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.best = path / "best"
        self.report = path / "report.json"
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, path: Path, config: str, command: str) -> "RunFolder":
        """Start a new run folder.

        Args:
            path: where; made with its parents.
            config: text of config.yaml.
            command: the command line, kept in command.txt.

        Raises:
            RunFolderError: something stands there already.
        """
        check_new(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        folder.lock()
        write_text(path / "command.txt", command + "\n")
        write_json(path / "versions.json", versions())
        write_text(folder.config, config)  # last: a folder with a config.yaml is a run folder
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open a run folder that stands.

        Raises:
            RunFolderError: there is none at `path`.
        """
        folder = cls(path)
        if not path.is_dir():
            raise RunFolderError(f"{path} does not exist{_siblings(path)}")
        if not folder.config.is_file():
            raise RunFolderError(f"{path} has no config.yaml: not a run folder; start one with --run_dir")
        return folder

    def lock(self) -> None:
        """Hold the folder for this process; the system lets go of it when the process ends, however it ends.

        Raises:
            RunFolderError: another process holds it.
        """
        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            raise RunFolderError(f"another process writes to {self.path}: wait for it or end it") from error
        settle_folder(self.best)
        self._settle_checkpoints()

    def unlock(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.close()

    def save_checkpoint(
        self, timesteps: int, save: Callable[[Path], None], state: Mapping[str, Any], keep: int = 2
    ) -> None:
        """Write a checkpoint, then remove all but the newest ones.

        Args:
            timesteps: positions decided so far.
            save: writes the model's archive to the path that it is given.
            state: the rest of the run's state, as JSON.
            keep: how many checkpoints stay.
        """

        def write(folder: Path) -> None:
            save(folder / "model.zip")
            write_json(folder / "state.json", dict(state))

        if self.metrics.exists():
            sync(self.metrics)  # the curve up to here is on disk before the checkpoint that stands on it
        write_folder(self.checkpoints / f"{timesteps:012d}", write)
        for stale in self._checkpoint_paths()[:-keep]:
            shutil.rmtree(stale)

    def last_checkpoint(self) -> Checkpoint | None:
        """The newest whole checkpoint; None when the run was killed before its first one.

        Raises:
            RunFolderError: there are checkpoints, and each of them is damaged.
        """
        damaged = []
        for path in reversed(self._checkpoint_paths()):
            fault = _fault(path)
            if fault is None:
                state = json.loads((path / "state.json").read_text(encoding="utf-8"))
                return Checkpoint(path, int(path.name), state)
            damaged.append(f"{path}: {fault}")
        if damaged:
            raise RunFolderError("no checkpoint is whole; start again with another --run_dir:\n" + "\n".join(damaged))
        return None

    def _settle_checkpoints(self) -> None:
        for left in sorted(self.checkpoints.glob(".*")):
            settle_folder(self.checkpoints / left.name[1:].partition(".")[0])

    def _checkpoint_paths(self) -> list[Path]:
        return sorted(path for path in self.checkpoints.glob("[0-9]*") if path.is_dir())


def check_new(path: Path) -> None:
    """Raise RunFolderError where something stands at `path` that a new run would mix with or overwrite."""
    if path.is_file():
        raise RunFolderError(f"{path} is a file: give --run_dir another folder")
    if path.is_dir() and any(path.iterdir()):
        raise RunFolderError(
            f"{path} exists and is not empty: continue that run with --resume {path}, or give --run_dir another folder"
        )


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that results depend on, and the machine."""
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
    """What is wrong with a checkpoint's files, or None."""
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
