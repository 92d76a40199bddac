"""The training time of a run, without evaluations and checkpoints."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar


class Clock:
    """A stopwatch that continues from the time of earlier processes.

    Args:
        seconds: the time that it starts with.

    Attributes:
        now: returns the current time in seconds. Benchmarks replace it by `time.process_time`, so that other processes
            do not shorten a run.
    """

    now: ClassVar[Callable[[], float]] = staticmethod(time.perf_counter)

    def __init__(self, seconds: float = 0.0) -> None:
        self._before = seconds
        self._started: float | None = None

    def start(self) -> None:
        """Start the clock."""
        if self._started is None:
            self._started = Clock.now()

    def stop(self) -> None:
        """Stop the clock."""
        self._before, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """The measured seconds."""
        return self._before + (0.0 if self._started is None else Clock.now() - self._started)

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
