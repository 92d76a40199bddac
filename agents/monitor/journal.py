"""The files of a monitor. A kill at any moment neither loses a line nor counts one twice.

Results are appended and synced first. Then the state, which holds the sizes of the files and the next line, atomically
replaces the previous state. A monitor that resumes from a state truncates the files to these sizes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_gym.agents.files import write_json

_STATE = {"line", "offset", "counts", "ids", "rule", "watched", "topics", "sizes"}  # keys of a state


class Journal:
    """The files of a monitor.

    Args:
        output: file for results, one per line; None: standard output.
        rejected: file for lines without a text, unchanged.
        state: file for the state; None: keep no state.

    Raises:
        ValueError: a state is requested without a file for results, or two of the files are the same.
    """

    def __init__(self, output: Path | None, rejected: Path, state: Path | None) -> None:
        if state is not None and output is None:
            raise ValueError("--state needs --output FILE: what went to standard output cannot be taken back")
        self._output, self._rejected, self._state = output, rejected, state
        given = [path for path in (output, rejected, state) if path is not None]
        same = next((path for i, path in enumerate(given) if path.resolve() in [p.resolve() for p in given[:i]]), None)
        if same is not None:
            raise ValueError(f"{same} is given for two of --output, --rejected and --state: give each its own file")

    def resume(self) -> dict[str, Any] | None:
        """Return the state and truncate the files to match it; None if there is no state.

        Raises:
            ValueError: there is no state but the files are not empty, or the files are shorter than the state says; or
                the state is damaged.
        """
        for path in self._files():
            path.parent.mkdir(parents=True, exist_ok=True)
        if self._state is not None and self._state.is_file():
            noted = _read_state(self._state)
            for path, size in zip(self._files(), noted.pop("sizes"), strict=True):
                held = path.stat().st_size if path.exists() else 0
                if held < size:
                    raise ValueError(
                        f"{path} has {held} bytes, and {self._state} counts {size}: give the files of one run"
                    )
                if held > size:
                    os.truncate(path, size)
            return noted
        for path in self._files():
            if path.exists() and path.stat().st_size:
                raise ValueError(f"{path} is not empty: give another file, or the --state that belongs to it")
        return None

    def commit(self, results: Sequence[str], rejected: Sequence[bytes], state: Mapping[str, Any]) -> None:
        """Append results and rejected lines, then write the state."""
        if self._output is None:
            sys.stdout.write("".join(results))
            sys.stdout.flush()
        else:
            _append(self._output, "".join(results).encode())
        if rejected:
            _append(self._rejected, b"".join(rejected))
        if self._state is not None:
            sizes = [path.stat().st_size if path.exists() else 0 for path in self._files()]
            write_json(self._state, {**state, "sizes": sizes})

    def _files(self) -> list[Path]:
        return [path for path in (self._output, self._rejected) if path is not None]


def _read_state(path: Path) -> dict[str, Any]:
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(noted, dict) or not noted.keys() >= _STATE:
        raise ValueError(f"{path} is not the state of a monitor: give --state another file")
    return noted


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
