"""Lists in the cells of a table, in the syntax of JSON, Python or NumPy."""

import ast
import json
import re
from typing import Any

_ITEM = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?\d+(?:\.\d*)?|\.\.\.)"""
_NUMPY = re.compile(rf"\[\s*{_ITEM}(?:\s+{_ITEM})+\s*\]", re.S)  # without commas, Python would join the strings
_MOST_PYTHON = 1_000_000  # characters; Python's parser needs a thousand times as many bytes


class CellError(ValueError):
    """A cell that looks like a list but cannot be read as one."""


def is_list(cell: str) -> bool:
    """Return whether a cell may be a list."""
    return cell.startswith(("[", "array([", "('", '("'))


def read_list(cell: str) -> Any:
    """Return the list in a cell, or the cell itself if it is a text in brackets.

    Raises:
        CellError: the list is truncated or not closed, or its items have no quotes.
    """
    text = cell.strip()
    if text.startswith("array("):
        text = text.removeprefix("array(").rpartition("]")[0] + "]"
    for parse in (json.loads, _numpy, ast.literal_eval) if len(text) < _MOST_PYTHON else (json.loads, _numpy):
        try:
            found = parse(text)
        except CellError:
            raise
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | tuple):
            return [*found]
    inside = text[1:-1]
    if re.match(r"\[\s*['\"]", text):
        raise CellError("a list that cannot be read: write lists as JSON")
    if text.endswith("]") and inside == inside.strip() and re.search(r"\w, ", inside) and "[" not in inside:
        raise CellError("a list of items without quotes: write lists as JSON")
    return cell


def _numpy(text: str) -> list[Any]:
    """Read a list in NumPy's syntax.

    Raises:
        CellError: NumPy has truncated the list.
        ValueError: the text is not such a list.
    """
    if not _NUMPY.fullmatch(text):
        raise ValueError(text)
    items = re.findall(_ITEM, text, re.S)
    if "..." in items:
        raise CellError("a list that NumPy cut short by '...': write lists as JSON")
    return [ast.literal_eval(item) for item in items]
