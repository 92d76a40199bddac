"""Which file of a folder, or split of a foreign dataset, is which of our splits."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lm_gym.data.errors import DataError

NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "devel", "development"), "validation"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "testa"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "testb"), "test"),
}
_NO_DATA = (".md", ".rst", ".py")  # and files without an ending in capitals, such as LICENSE


def split_of(path: Path) -> str | None:
    """The split that a file's name says: "eng.testa" is validation, "notes.txt" is none."""
    found = {NAMES[part] for part in re.split(r"[._-]", path.name.lower()) if part in NAMES}
    return found.pop() if len(found) == 1 else None


def split_files(folder: Path, splits: Mapping[str, str] | None = None) -> tuple[dict[str, Path], list[str]]:
    """The file of each split, and the names of the files and folders beside them that nobody asked for.

    Args:
        folder: where they are.
        splits: file names by split; None goes by the names of the files.

    Raises:
        DataError: no file for any split, two files for one, or a file that is not there.
    """
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in entries if path.is_file()]
    listed = ", ".join(path.name for path in files) or "(none)"
    if splits is not None:
        for split, name in splits.items():
            if not (folder / name).is_file():
                raise DataError(f"{folder}: no file {name!r} for {split}; files: {listed}")
        return {split: folder / name for split, name in splits.items()}, []
    found: dict[str, list[Path]] = {}
    for path in files:
        said = split_of(path)
        if said is not None:
            found.setdefault(said, []).append(path)
    if not found:
        raise DataError(f"{folder}: no file is named for a split ({', '.join(NAMES)}); files: {listed}")
    for split, paths in found.items():
        exact = [path for path in paths if path.stem.lower() in NAMES]
        found[split] = exact if len(exact) == 1 else paths
        if len(found[split]) > 1:
            names = ", ".join(path.name for path in paths)
            raise DataError(f"{folder}: {names} might each be {split}: say splits={{{split!r}: …}}")
    chosen = {split: paths[0] for split, paths in found.items()}
    others = [path for path in entries if path not in chosen.values() and _may_be_data(path)]
    return chosen, [path.name for path in others]


def _may_be_data(path: Path) -> bool:
    """Whether this may be meant to be read: no manual and no code, and a folder only if it is named for a split."""
    if path.is_dir():
        return split_of(path) is not None
    return path.suffix.lower() not in _NO_DATA and (bool(path.suffix) or not path.name.isupper())


def choose_splits(place: str, names: Iterable[str], splits: Mapping[str, str] | None) -> dict[str, str]:
    """The names of a dataset's own splits by ours.

    Args:
        place: what errors name.
        names: its splits.
        splits: as asked for; None goes by the usual names, the first of two that mean the same.

    Raises:
        DataError: it has no such split, or none of a usual name.
    """
    names = [*names]
    if not names:
        raise DataError(f"{place}: there is no split in it: give texts by split, as in {{'train': [['a', 'text']]}}")
    chosen = dict(splits or {})
    if splits is None:
        for name in names:
            if str(name).lower() in NAMES:
                chosen.setdefault(NAMES[str(name).lower()], name)
    missing = [name for name in chosen.values() if name not in names]
    if missing or not chosen:
        wrong = f"no split {missing[0]!r}" if missing else "no split of a usual name"
        raise DataError(f"{place}: {wrong}; it has {', '.join(map(str, names))}: say splits={{'train': …}}")
    return chosen
