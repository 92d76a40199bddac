"""Opening of text files, with UTF-8, lines of limited length and any line breaks."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_gym.data.errors import DataError

_LONGEST = 10_000_000  # maximum bytes of a line
_HEAD = 1 << 16  # bytes from which line breaks are inferred


@contextmanager
def open_text(path: Path) -> Iterator[Iterable[str]]:
    """Open a file as lines of UTF-8; doubled line breaks count as one.

    Raises:
        DataError: the file cannot be read, a line is longer than ten million bytes, or bytes are not UTF-8.
    """
    try:
        _refuse_long_lines(path)
        doubled = has_doubled_breaks(path)
        with path.open(encoding="utf-8-sig", newline="\n" if doubled else None) as lines:
            yield (line.rstrip("\r\n") + "\n" for line in lines) if doubled else lines
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        _refuse_bytes(path)
        raise


def has_doubled_breaks(path: Path) -> bool:
    """Return whether lines end with CR CR LF, the result of translating line breaks twice."""
    with path.open("rb") as raw:
        return b"\r\r\n" in raw.read(_HEAD)


def _refuse_long_lines(path: Path) -> None:
    """Raise DataError for a long line before reading it as text, which takes many times its bytes."""
    if path.stat().st_size <= _LONGEST:
        return
    length = breaks = 0
    with path.open("rb") as raw:
        while block := raw.read(_LONGEST // 2):  # so that no line within one block is too long
            first = min((place for place in (block.find(b"\n"), block.find(b"\r")) if place >= 0), default=-1)
            if length + (len(block) if first < 0 else first) > _LONGEST:
                raise DataError(
                    f"{path}, line {breaks + 1}: longer than {_LONGEST:,} bytes: put each text on a separate line"
                )
            last = max(block.rfind(b"\n"), block.rfind(b"\r"))
            length = length + len(block) if first < 0 else len(block) - 1 - last
            breaks += block.count(b"\n")


def _refuse_bytes(path: Path) -> None:
    """Raise DataError for the first line with bytes that are not UTF-8."""
    with path.open("rb") as raw:
        for number, line in enumerate(raw, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                utf16 = number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff"))
                what = "the file is UTF-16" if utf16 else f"byte {line[error.start]:#04x} is not UTF-8"
                raise DataError(f"{path}, line {number}: {what}: convert the file to UTF-8") from None
