"""The training time of a run, without evaluations and checkpoints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """A stopwatch that continues from the time of earlier processes.

    Args:
        seconds: the time that it starts with.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._started: float | None = None

    def start(self) -> None:
        """Start the clock."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock."""
        self._before, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """The measured seconds."""
        return self._before + (0.0 if self._started is None else time.perf_counter() - self._started)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock inside the `with` block."""
        running = self._started is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()
