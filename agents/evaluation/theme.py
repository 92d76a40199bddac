"""Styles of the HTML pages, which share their colours for light and dark screens."""

from importlib.resources import files

VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def style(package: str, name: str) -> str:
    """Return the shared colours, followed by a style sheet of a package."""
    sheets = (files("lm_gym.agents.evaluation").joinpath("theme.css"), files(package).joinpath(name))
    return "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
