"""Reading a stream: lines in batches with a bounded delay, and the content of a line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import IO, Any

from lm_gym.data.values import fault_of

_POLL = 0.05  # seconds between two looks at a file that may grow
_WAITING = 4  # batches read ahead; then the writer of a pipe has to wait


@dataclass(frozen=True)
class Message:
    """One text.

    Attributes:
        text: the text, not blank.
        id: identifier of the text; None if it has none.
        topic: topic of the text; None if the line lacks the key of the topic.
        time: time of the text, as given.
    """

    text: str
    id: str | None = None
    topic: str | None = "all"
    time: Any = None


class LineError(ValueError):
    """A line without a text."""


def read_line(line: bytes, by: str | None) -> Message:
    """Parse a line: a JSON object with `text` or, if it does not start with a brace, the text itself.

    Args:
        line: the line without its line end.
        by: key of the topic; None: all texts have the same topic.

    Raises:
        LineError: the line is not UTF-8, not valid JSON, has no text, or the text has a zero byte or half a character.
    """
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LineError(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    if not text.lstrip().startswith("{"):
        return Message(_checked(text))
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LineError(f"bad JSON ({error})") from None
    if not isinstance(record.get("text"), str):
        raise LineError("no text under the key 'text'")
    own, topic = record.get("id"), "all" if by is None else record.get(by)
    text, time_ = _checked(record["text"]), record.get("time")
    return Message(text, None if own is None else str(own), None if topic is None else str(topic), time_)


def _checked(text: str) -> str:
    """Return a text that has words, all of which a tokenizer can read."""
    words = text.split()
    if not words:
        raise LineError("no text")
    fault = next((fault for word in words if (fault := fault_of(word))), None)
    if fault is not None:
        raise LineError(fault)
    return text


def batches(stream: IO[bytes], size: int, max_delay: float, follow: bool) -> Iterator[list[bytes]]:
    """Yield lines in batches, including line ends.

    A batch is complete when it is full, or `max_delay` seconds after its first line arrived. A thread reads a few
    batches ahead.

    Args:
        stream: the stream.
        size: maximum number of lines per batch.
        max_delay: maximum delay in seconds.
        follow: whether to wait for more data at the end of a file and inside an incomplete line. Without it, the end of
            the file ends the last line.
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
