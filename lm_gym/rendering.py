"""Texts with their decisions, in ANSI colours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.tasks import Task

GREEN, RED, YELLOW, RESET = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


def render_text(task: Task, observation: dict[str, NDArray[Any]], targets: NDArray[np.int64]) -> str:
    """Show one text: right decisions green, wrong ones red with the gold choice, open ones yellow.

    Args:
        task: the task played.
        observation: one row's leaves.
        targets: int64 [T], gold choices.
    """
    raise NotImplementedError
