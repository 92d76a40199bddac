"""SIGINT and SIGTERM as requests to stop between two updates, where a checkpoint can be written."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818
    """A run has stopped on request, and saved a checkpoint.

    Attributes:
        status: the exit status of its process, by the convention of shells.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class StopRequest:
    """A request to stop the process, if there is one.

    Attributes:
        signal: number of the received signal; None if there is none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record the first signal inside the `with` block; a second signal ends the process at once.

        Outside the main thread, in which Python handles signals, this does nothing.
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
