"""The console of every command, which shows data, paths and messages literally and never interprets them."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from lm_gym.rendering import printable


class Terminal(Console):
    """A rich console without markup, emoji codes and highlighting, which prints control characters as escapes.

    Args:
        options: options of rich's Console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def say(self, text: RenderableType) -> None:
        """Print a line that is never broken, so that paths and commands in it can be copied."""
        self.print(text, soft_wrap=True)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; see rich's Console."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
