"""What a monitor has written, and how far it has read: whatever the moment of a kill, no line is lost or counted twice.

Results are appended and synced first; the state, which says how long the files were and which line comes next, replaces
the one before in one step afterwards. Who goes on from a state cuts the files to that length.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_gym.agents.files import write_json


class Journal:
    """The files of a monitor.

    Args:
        output: where results go, a line each; None: standard output.
        rejected: where lines go that hold no text, as they are.
        state: where to note how far the monitor is; None: nowhere.

    Raises:
        ValueError: a state without a file for results, which could not be cut.
    """

    def __init__(self, output: Path | None, rejected: Path, state: Path | None) -> None:
        if state is not None and output is None:
            raise ValueError("--state needs --output FILE: what went to standard output cannot be taken back")
        self._output, self._rejected, self._state = output, rejected, state

    def resume(self) -> dict[str, Any] | None:
        """What was noted, with the files cut to what they held then; None if nothing was.

        Raises:
            ValueError: there is no state, and the files hold something already; or they lack what the state counts.
        """
        if self._state is not None and self._state.is_file():
            noted: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
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
                raise ValueError(f"{path} holds something: give another file, or the --state that goes with it")
        return None

    def commit(self, results: Sequence[str], rejected: Sequence[bytes], state: Mapping[str, Any]) -> None:
        """Append results and rejected lines, then note the state."""
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


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
