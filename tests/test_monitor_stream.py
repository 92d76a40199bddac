"""Lines of a stream: their texts, batches, and files that grow."""

import io
import threading
import time

import pytest

from lm_gym.agents.monitor.stream import LineError, Message, batches, read_line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"it was fine", Message("it was fine")),
        (b'{"text": "it was fine", "id": 7, "topic": "food", "time": 3.5}', Message("it was fine", "7", "food", 3.5)),
        (b'{"text": "it was fine"}', Message("it was fine", topic=None)),
        (b'\xef\xbb\xbf{"text": "it was fine", "topic": 7}', Message("it was fine", topic="7")),
    ],
)
def test_what_a_line_says(line, message):
    assert read_line(line, "topic" if b"{" in line else None) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  ",
        b"a\0b",
        b"{",
        b'{"text": ""}',
        b'{"text": "\\ud800"}',
        b'{"text": 3}',
        b'{"words": "a"}',
        b'{"text": "a", "time": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff\xfe",
    ],
)
def test_lines_without_a_text(line):
    with pytest.raises(LineError):
        read_line(line, None)


class Pipe(io.RawIOBase):
    """A stream whose lines arrive when they are released; `taken` counts the lines that were read."""

    def __init__(self, lines: list[bytes], pause: float = 0.0) -> None:
        self.lines, self.pause, self.taken = lines, pause, 0

    def readline(self, _: int | None = -1) -> bytes:
        if self.taken == len(self.lines):
            return b""
        time.sleep(self.pause)
        self.taken += 1
        return self.lines[self.taken - 1]


def test_a_batch_is_full_or_late():
    lines = [b"%d\n" % number for number in range(10)]
    assert [len(batch) for batch in batches(Pipe(lines), 4, 5.0, False)] == [4, 4, 2]
    slow = list(batches(Pipe(lines, pause=0.05), 100, 0.12, False))
    assert 2 <= len(slow) <= 6
    assert [line for batch in slow for line in batch] == lines
    assert list(batches(Pipe([]), 4, 0.1, False)) == []


def test_who_writes_waits_while_batches_are_worked_on():
    pipe = Pipe([b"a\n"] * 1000)
    first = next(found := batches(pipe, 4, 0.1, False))
    time.sleep(0.2)
    assert len(first) == 4
    assert pipe.taken <= 4 * 5 + 2
    found.close()


def test_a_growing_file_is_followed_and_a_torn_line_waits_for_its_end(tmp_path):
    path = tmp_path / "stream.txt"
    path.write_bytes(b"one\ntwo\nthr")

    def grow() -> None:
        time.sleep(0.2)
        with path.open("ab") as file:
            file.write(b"ee\n")

    with path.open("rb") as stream:
        found = batches(stream, 8, 0.05, follow=True)
        assert next(found) == [b"one\n", b"two\n"]
        threading.Thread(target=grow).start()
        assert next(found) == [b"three\n"]
        found.close()
    path.write_bytes(b"one\ntwo")
    with path.open("rb") as stream:
        assert list(batches(stream, 8, 0.05, follow=False)) == [[b"one\n", b"two"]]
