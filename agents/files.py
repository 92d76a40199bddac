"""Files and folders that appear whole or not at all: written under another name, synced to disk, renamed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder whole or not at all, taking the place of one that stands there.

    Args:
        path: the folder.
        write: fills the empty folder that it is given.
    """
    settle_folder(path)
    partial, ready, old = _stages(path)
    partial.mkdir(parents=True)
    write(partial)
    for file in partial.rglob("*"):
        sync(file)
    sync(partial)
    partial.rename(ready)
    if path.exists():
        path.rename(old)
    settle_folder(path)


def settle_folder(path: Path) -> None:
    """Finish or undo what a kill left of `write_folder`: afterwards `path` is whole or absent."""
    partial, ready, old = _stages(path)
    shutil.rmtree(partial, ignore_errors=True)
    if ready.exists():
        if path.exists():  # killed before the old one was moved aside
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        ready.rename(path)
        sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _stages(path: Path) -> tuple[Path, Path, Path]:
    return tuple(path.with_name(f".{path.name}.{stage}") for stage in ("partial", "ready", "old"))  # type: ignore[return-value]


def sync(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
