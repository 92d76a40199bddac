"""The notebook runs from top to bottom in a fresh kernel, and shows what came out when it did.

To run it again and keep what comes out: jupyter execute --inplace docs/quickstart.ipynb
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    outputs = (output for cell in code_cells(notebook) for output in cell.outputs)
    return "".join(output.text for output in outputs if output.output_type == "stream")


def number(pattern, text):
    return float(re.search(pattern + r"\s+([\d.]+)", text)[1])


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs = []
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}},
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    return notebook


def test_it_trains_with_and_without_a_gradient(ran):
    text = printed(ran)
    assert number("entity F1 after:", text) > number("entity F1 before:", text) + 0.3
    assert number("perplexity after:", text) < number("perplexity before:", text) / 2
    assert " 0 backward passes" in text


def test_what_is_shown_is_of_the_same_kind(ran):
    shown = nbformat.read(NOTEBOOK, as_version=4)
    for now, then in zip(code_cells(ran), code_cells(shown), strict=True):
        assert {output.output_type for output in now.outputs} == {output.output_type for output in then.outputs}
    now, then = (number("entity F1 after:", printed(notebook)) for notebook in (ran, shown))
    assert now == pytest.approx(then, abs=0.1)
    assert "stderr" not in {output.get("name") for cell in code_cells(shown) for output in cell.outputs}
