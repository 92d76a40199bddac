"""Hooks of mkdocs: equations become MathML, links out of docs/ lead to the repository, notebooks become pages."""

import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from math_core import LatexToMathML
from mkdocs.structure.files import File

LINK = re.compile(r"\]\((\.\./[^)\s]+)\)")
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)
COLOUR = re.compile(r"\x1b\[[\d;]*m")
NOTEBOOKS = ("quickstart.ipynb", "search.ipynb")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the notebooks with their saved output."""
    for name in NOTEBOOKS:
        path = Path(config.docs_dir) / name
        files.append(File.generated(config, name.replace(".ipynb", ".md"), content=notebook_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Rewrite links to files outside docs/ and to the notebooks."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def at_home(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        return match[0] if path.startswith("docs/") else f"]({config.repo_url}/blob/main/{path})"

    markdown = LINK.sub(at_home, markdown)
    for name in NOTEBOOKS:
        markdown = markdown.replace(f"]({name})", f"]({name.replace('.ipynb', '.md')})")
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Convert the equations of a page to MathML, which browsers draw without scripts; a wrong equation raises."""
    latex = LatexToMathML()

    def mathml(match: re.Match[str]) -> str:
        tag, source = match.groups()
        drawn = latex.convert_with_local_state(html.unescape(source).strip(), displaystyle=tag == "div")
        return f'<{tag} class="arithmatex">{drawn}</{tag}>'

    return EQUATION.sub(mathml, content)


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown: its texts, its code, and its output."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            text = "".join(output["text"] if "text" in output else output["data"]["text/plain"])
            parts.append(f"``` {{ .text .output }}\n{COLOUR.sub('', text).rstrip()}\n```")
    title, rest = parts[0].split("\n", 1), parts[1:]
    return "\n\n".join([title[0], f"This page shows [the notebook](./{path.name}) with its output.", title[1], *rest])
