"""Lines of a stream, in batches that wait no longer than they are told to; and what a line says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import IO, Any

_POLL = 0.05  # seconds between two looks at a file that may grow
_WAITING = 4  # batches read ahead; who writes into a pipe waits when they are full


@dataclass(frozen=True)
class Message:
    """One text.

    Attributes:
        text: the text, with a word at least.
        id: its own name, None if it has none.
        topic: what its share is counted by.
        time: as the line has it.
    """

    text: str
    id: str | None = None
    topic: str = "all"
    time: Any = None


class LineError(ValueError):
    """A line that holds no text."""


def read_line(line: bytes, by: str | None) -> Message:
    """What a line says: a JSON object with `text`, or, where it does not begin with a brace, a text.

    Args:
        line: without its end.
        by: the key that holds the topic; None: all texts have one topic.

    Raises:
        LineError: not UTF-8, no JSON object, or no text in it.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise LineError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    if not text.lstrip().startswith("{"):
        if not text.strip():
            raise LineError("no text")
        return Message(text)
    try:
        record = json.loads(text)
    except ValueError as error:
        raise LineError(f"bad JSON ({error})") from None
    if not isinstance(record.get("text"), str) or not record["text"].strip():
        raise LineError("no text under the key 'text'")
    own, topic = record.get("id"), "all" if by is None else str(record.get(by))
    return Message(record["text"], None if own is None else str(own), topic, record.get("time"))


def batches(stream: IO[bytes], size: int, max_delay: float, follow: bool) -> Iterator[list[bytes]]:
    """Lines in batches, ends of lines included.

    A batch is given when it is full, or `max_delay` seconds after its first line came. Reading goes on meanwhile in a
    thread, a few batches ahead.

    Args:
        stream: where lines come from.
        size: most lines of a batch.
        max_delay: seconds.
        follow: whether to wait for more at the end of a file, and for the end of a line that is not complete; without
            it the end of the file ends the line.
    """
    lines: Queue[bytes | None] = Queue(_WAITING * size)
    stopped = Event()
    Thread(target=_read, args=(stream, lines, follow, stopped), daemon=True).start()
    try:
        ended = False
        while not ended:
            first = lines.get()
            if first is None:
                return
            batch, deadline = [first], time.monotonic() + max_delay
            while len(batch) < size:
                try:
                    line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
                except Empty:
                    break
                if line is None:
                    ended = True
                    break
                batch.append(line)
            yield batch
    finally:
        stopped.set()


def _read(stream: IO[bytes], lines: Queue[bytes | None], follow: bool, stopped: Event) -> None:
    kept = b""
    while not stopped.is_set():
        line = stream.readline()
        if line.endswith(b"\n"):
            lines.put(kept + line)
            kept = b""
        elif follow:
            kept += line
            time.sleep(_POLL)
        else:
            if line:
                lines.put(line)
            lines.put(None)
            return
