"""SIGINT and SIGTERM as requests to stop between two updates, where a checkpoint can be written."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818
    """A run that was asked to stop, and has saved a checkpoint.

    Attributes:
        status: the exit status of its process, as shells have it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class StopRequest:
    """Whether the process was asked to stop.

    Attributes:
        signal: number of the signal that asked; None as long as none has.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of the first signal inside; a second one ends the process at once.

        Outside the main thread, where Python takes no signals, nothing changes.
        """
        if current_thread() is not main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        name = signal.Signals(number).name
        sys.stderr.write(f"\n{name}: stopping after this update, with a checkpoint; again to stop without one\n")
