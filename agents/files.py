"""Atomic writing of files and folders: they are written under another name, synced to disk, and then renamed."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHECKSUMS = "checksums.json"


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        IsADirectoryError: `path` is a folder.
    """
    with _replacing(path) as file:
        file.write(text)


def refuse_folder(path: Path | None) -> None:
    """Raise IsADirectoryError if a file to write is a folder, so that a command can tell before it does its work."""
    if path is not None and path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all; NaN and infinities become null."""
    write_text(path, to_json(value, indent=2) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON; NaN and infinities, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def to_line(record: Mapping[str, Any]) -> str:
    """Return a record as one line of JSON; NaN and infinities become null.

    No character is escaped, unless the record has half a surrogate pair, which UTF-8 cannot represent.
    """
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, default=str)
    except ValueError:
        record = _finite(record)
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(record, allow_nan=False, default=str)
    return text + "\n"


@contextmanager
def streamed_text(path: Path) -> Iterator[IO[str]]:
    """Open a text file for writing; it appears when it is complete, and not at all after an error.

    Raises:
        IsADirectoryError: `path` is a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as file:
        yield file


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    refuse_folder(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder whole or not at all. It replaces an existing one.

    The folder also gets `checksums.json`, for `find_damage`.

    Args:
        path: the folder.
        write: a function that fills an empty folder.
    """
    settle_folder(path)
    partial, ready, old = _stages(path)
    partial.mkdir(parents=True)
    write(partial)
    files = sorted(file for file in partial.rglob("*") if file.is_file())
    sums = {file.relative_to(partial).as_posix(): _checksum(file) for file in files}
    (partial / CHECKSUMS).write_text(to_json(sums, indent=2) + "\n", encoding="utf-8")
    for file in partial.rglob("*"):
        sync(file)
    sync(partial)
    partial.rename(ready)
    if path.exists():
        path.rename(old)
    settle_folder(path)


def add_to_folder(path: Path, texts: Mapping[str, str]) -> None:
    """Add text files to a folder that `write_folder` wrote, or replace them; all or none.

    Args:
        path: the folder.
        texts: contents by name.
    """

    def write(folder: Path) -> None:
        shutil.copytree(path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*texts, CHECKSUMS))
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")

    write_folder(path, write)


def find_damage(path: Path) -> str | None:
    """Describe the damage to a folder that `write_folder` wrote; None if it is intact or has no checksums."""
    if not (path / CHECKSUMS).is_file():
        return None
    try:
        sums = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in sums.items():
            if not (path / name).is_file():
                return f"{name} is missing"
            if _checksum(path / name) != expected:
                return f"{name} has changed since it was written (its checksum in {CHECKSUMS} differs)"
    except (ValueError, AttributeError, OSError) as error:
        return f"{CHECKSUMS} cannot be read: {error}"
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def settle_folder(path: Path) -> None:
    """Finish or undo an interrupted `write_folder`. Afterwards `path` is whole or absent."""
    partial, ready, old = _stages(path)
    shutil.rmtree(partial, ignore_errors=True)
    if ready.exists():
        if path.exists():  # interrupted before the old one was moved aside
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
