"""The notebooks run from top to bottom in a fresh kernel and contain their outputs.

To run one again and save its outputs: jupyter execute --inplace docs/quickstart.ipynb
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    outputs = (output for cell in code_cells(notebook) for output in cell.outputs)
    return "".join(output.text for output in outputs if output.output_type == "stream")


def number(pattern, text):
    return float(re.search(pattern + r"\s+([\d.]+)", text)[1])


def saved(name):
    return nbformat.read(ROOT / "docs" / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def ran(request, tmp_path_factory):
    notebook = saved(request.param)
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


@pytest.mark.parametrize("ran", ["quickstart"], indirect=True)
def test_it_trains_with_and_without_a_gradient(ran):
    text = printed(ran)
    assert number("entity F1 after:", text) > number("entity F1 before:", text) + 0.3
    assert number("perplexity after:", text) < number("perplexity before:", text) / 2
    assert " 0 backward passes" in text
    then = number("entity F1 after:", printed(saved("quickstart")))
    assert number("entity F1 after:", text) == pytest.approx(then, abs=0.1)
    _same_kinds(ran, saved("quickstart"))


@pytest.mark.parametrize("ran", ["search"], indirect=True)
def test_it_searches_without_gradients(ran):
    text = printed(ran)
    fitness = [float(found) for found in re.findall(r"mean fitness (-[\d.]+)", text)]
    assert fitness == sorted(fitness)
    assert fitness[-1] > -0.01
    assert number("perplexity after:", text) < number("perplexity before:", text) / 2
    assert number("perplexity of the biases:", text) < number("perplexity before:", text)
    assert " 0 backward passes" in text
    _same_kinds(ran, saved("search"))


def _same_kinds(ran, shown):
    """Saved outputs have the same types as new ones, and nothing was written to standard error."""
    for now, then in zip(code_cells(ran), code_cells(shown), strict=True):
        assert {output.output_type for output in now.outputs} == {output.output_type for output in then.outputs}
    assert "stderr" not in {output.get("name") for cell in code_cells(shown) for output in cell.outputs}
