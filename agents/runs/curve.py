"""The curve of a run on disk, in metrics.jsonl and TensorBoard events, and how to cut both back to a checkpoint.

An interrupted run has logged steps after its last checkpoint. The resumed run logs these steps again, so they are
removed from both files first. No step is then logged twice, and none is lost.
"""

import json
import math
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat
from tensorboard.compat.proto.event_pb2 import Event

from lm_gym.agents.files import to_json
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.settings import equivalents

OVER_EQUIVALENTS = "_over_equivalents"  # ends the groups whose steps are forward-pass equivalents
_COMPARED = ("eval", "rollout")  # the groups that are logged over equivalents, too
_HEADER = 12  # a record: uint64 length, uint32 checksum, data, uint32 checksum
_FOOTER = 4


class MetricsWriter(KVWriter):
    """Append one JSON object per log, `{"timesteps": …, tag: number, …}`, with numbers only."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append the numbers among `key_values`. Called by the logger."""
        numbers = numbers_of(key_values)
        if numbers:
            self._file.write(to_json({"timesteps": step, **numbers}) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class EventsWriter(TensorBoardOutputFormat):
    """Write TensorBoard events over timesteps, and the numbers that compare algorithms also over equivalents."""

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write a log. Called by the logger."""
        super().write(key_values, key_excluded, step)
        spent = equivalents(*(int(key_values.get(f"budget/{kind}_passes", 0)) for kind in ("forward", "backward")))
        again = {
            f"{group}{OVER_EQUIVALENTS}/{name}": value
            for group, _, name, value in ((*key.partition("/"), value) for key, value in key_values.items())
            if group in _COMPARED and isinstance(value, int | float | np.number)
        }
        super().write(again, dict.fromkeys(again, ()), spent)


def numbers_of(key_values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a log, sorted by name."""
    return {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in sorted(key_values.items())
        if isinstance(value, int | float | np.generic)
    }


def let_the_second_pass(tensorboard: Path) -> None:
    """Wait, at most a second, so that a new event file sorts after the existing ones.

    TensorBoard reads event files in the order of their names, which begin with the second of their creation.
    """
    made = [int(path.name.split(".")[3]) for path in tensorboard.glob("events.out.tfevents.*")]
    wait = max(made, default=0) + 1 - time.time()
    if 0 < wait <= 1:
        time.sleep(wait)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of a metrics.jsonl; numbers that JSON does not have are NaN.

    Raises:
        RunFolderError: a line is damaged.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = (_row(path, number, line) for number, line in enumerate(lines, 1))
    return [{key: math.nan if value is None else value for key, value in row.items()} for row in rows]


def _row(path: Path, number: int, line: str | bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
        row["timesteps"] + 0  # every row has them
    except (ValueError, TypeError, KeyError) as error:
        raise RunFolderError(f"{path}, line {number}, is damaged: repair or remove that line") from error
    return dict(row)


def cut_curve(metrics: Path, tensorboard: Path, timesteps: int) -> None:
    """Remove everything logged after `timesteps`; -1 removes all. Missing files are ignored.

    Raises:
        RunFolderError: a file is damaged before that; nothing is removed.
    """
    files = sorted(tensorboard.glob("events.out.tfevents.*"))
    ends = [_events_end(events, timesteps) for events in files]
    if metrics.exists():
        _truncate(metrics, _metrics_end(metrics, timesteps))
    for events, end in zip(files, ends, strict=True):
        if end == 0:
            events.unlink()
        else:
            _truncate(events, end)


def _truncate(path: Path, size: int) -> None:
    if path.stat().st_size > size:
        os.truncate(path, size)


def _metrics_end(path: Path, timesteps: int) -> int:
    """Count the bytes of complete lines up to `timesteps`."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") or _row(path, number, line)["timesteps"] > timesteps:
                break
            end += len(line)
    return end


def _events_end(path: Path, timesteps: int) -> int:
    """Count the bytes of complete records up to `timesteps`."""
    data = path.read_bytes()
    end = 0
    while end + _HEADER <= len(data):
        (length,) = struct.unpack_from("<Q", data, end)
        after = end + _HEADER + length + _FOOTER
        if after > len(data):
            break
        try:
            event = Event.FromString(data[end + _HEADER : end + _HEADER + length])
        except DecodeError as error:
            raise RunFolderError(
                f"{path} is damaged at byte {end}: move it away (metrics.jsonl holds the same numbers)"
            ) from error
        if event.step > timesteps and not any(OVER_EQUIVALENTS in value.tag for value in event.summary.value):
            break  # those over equivalents follow the others of their log
        end = after
    return end


def pending_logs(logger: Logger) -> dict[str, Any]:
    """Return the values since the last log as JSON, by name: [value, count of its mean, outputs that exclude it].

    Raises:
        TypeError: a value is not a number; texts and tables are logged at once.
    """
    found = {}
    for name, value in logger.name_to_value.items():
        if not isinstance(value, int | float | np.generic):
            raise TypeError(f"{name} is recorded as {type(value).__name__}: record a number")
        number = value.item() if isinstance(value, np.generic) else value
        found[name] = [number, logger.name_to_count[name], logger.name_to_excluded.get(name, ("",))]
    return found


def restore_pending(logger: Logger, pending: Mapping[str, Any]) -> None:
    """Record the values that `pending_logs` returned again."""
    for name, (value, count, excluded) in pending.items():
        logger.name_to_value[name] = value
        logger.name_to_count[name] = count
        logger.name_to_excluded[name] = tuple(excluded)
