"""The seconds that training takes, evaluation and checkpoints left out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """A stop watch that goes on where an earlier process stopped.

    Args:
        seconds: what it shows at first.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._started: float | None = None

    def start(self) -> None:
        """Let it run."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop(self) -> None:
        """Hold it."""
        self._before, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds it has run."""
        return self._before + (0.0 if self._started is None else time.perf_counter() - self._started)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold it inside."""
        running = self._started is not None
        self.stop()
        try:
            yield
        finally:
            if running:
                self.start()
