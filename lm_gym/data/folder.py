"""Assignment of files in a folder, or splits of another dataset, to splits."""

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
_NO_DATA = (".md", ".rst", ".py")  # also files in capitals without a suffix, such as LICENSE


def split_of(path: Path) -> str | None:
    """Return the split in the name of a file: "eng.testa" is validation, "notes.txt" is None."""
    found = {NAMES[part] for part in re.split(r"[._-]", path.name.lower()) if part in NAMES}
    return found.pop() if len(found) == 1 else None


def split_files(folder: Path, splits: Mapping[str, str] | None = None) -> tuple[dict[str, Path], list[str]]:
    """Return the file of each split, and the names of other files and folders that may be data.

    Args:
        folder: the folder.
        splits: file names by split; None to infer splits from names.

    Raises:
        DataError: no file belongs to a split, two files belong to the same split, or a file does not exist.
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
        only = f": give the file {files[0]} itself to train on it" if len(files) == 1 else ""
        raise DataError(f"{folder}: no file is named for a split ({', '.join(NAMES)}); files: {listed}{only}")
    for split, paths in found.items():
        exact = [path for path in paths if path.stem.lower() in NAMES]
        found[split] = exact if len(exact) == 1 else paths
        if len(found[split]) > 1:
            names = ", ".join(path.name for path in paths)
            raise DataError(f"{folder}: {names} might each be {split}: set splits={{{split!r}: …}}")
    chosen = {split: paths[0] for split, paths in found.items()}
    others = [path for path in entries if path not in chosen.values() and _may_be_data(path)]
    return chosen, [path.name for path in others]


def _may_be_data(path: Path) -> bool:
    """Return whether a path may be data: a folder with the name of a split, or a file that is not text or code."""
    if path.is_dir():
        return split_of(path) is not None
    return path.suffix.lower() not in _NO_DATA and (bool(path.suffix) or not path.name.isupper())


def choose_splits(place: str, names: Iterable[str], splits: Mapping[str, str] | None) -> dict[str, str]:
    """Return the names of a dataset's own splits by ours.

    Args:
        place: the place for error messages.
        names: names of its splits.
        splits: requested splits; None to use the usual names, the first of several with the same meaning.

    Raises:
        DataError: a split does not exist, or no split has a usual name.
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
        raise DataError(f"{place}: {wrong}; it has {', '.join(map(str, names))}: set splits={{'train': …}}")
    return chosen
