"""Pages of environments equal their docstrings, names in pages exist, and examples run."""

import re
import shlex
from pathlib import Path

import gymnasium
import pytest
import yaml
from math_core import LatexError

from docs.generate import FOLDER, marked, pages
from docs.hooks import on_page_content
from docs.metrics import METRICS
from docs.tables import MARKED, filled
from lm_gym import agents
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.search.optimizers import OPTIMIZERS
from tests.libraries import MODULES, needs

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"predict"}  # pages whose examples other tests run
OWN_MODULES = {"own_optimizer", "own_search_space", "own_task"}  # tests/test_own_modules.py runs their commands
PAGES = sorted((ROOT / "docs").rglob("*.md"))
HEADINGS = [
    "Description",
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Arguments",
    "Version History",
]


def examples():
    """Return every example, with the marks of the library that it imports."""
    for page in PAGES:
        if page.stem in ELSEWHERE:
            continue
        for number, code in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        ):
            libraries = [name for name, module in MODULES.items() if re.search(rf"\b(from|import) {module}\b", code)]
            libraries += ["tianshou"] * ("lm_gym.compat.tianshou" in code)
            marks = [mark for library in libraries for mark in needs(library)]
            marks += [pytest.mark.filterwarnings("ignore")] * bool(libraries)
            yield pytest.param(page, code, id=f"{page.stem}-{number}", marks=marks)


@pytest.mark.parametrize(("page", "code"), list(examples()))
def test_examples_run(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {})


def commands():
    """Return the options of every `python -m agents.train …` in a shell block."""
    for page in [ROOT / "README.md", *PAGES]:
        if page.stem in OWN_MODULES:
            continue
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            for line in re.findall(r"^python -m agents\.train(.*)", block.replace("\\\n", " "), re.M):
                options = shlex.split(line, comments=True)
                yield pytest.param(options, id=f"{page.stem}: {' '.join(options)}")


@pytest.mark.parametrize("options", list(commands()))
def test_commands_have_options_that_exist(options, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert parse_settings(options).algo in ALGORITHMS


def test_pages_of_the_environments_are_up_to_date():
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    assert written == pages(), "run: python -m docs.generate"
    for text in written.values():
        assert re.findall(r"^## (.+)", text, re.M) == HEADINGS


@pytest.mark.parametrize("page", marked(), ids=lambda path: path.stem)
def test_tables_have_every_argument_and_exactly_what_a_run_logs(page):
    text = page.read_text(encoding="utf-8")
    assert text == filled(text), "run: python -m docs.generate"


def test_every_algorithm_and_optimizer_has_a_page_with_its_arguments_and_logs():
    found = {(table, name) for page in marked() for _, table, name, _ in MARKED.findall(page.read_text("utf-8"))}
    algorithms = {*ALGORITHMS, *OPTIMIZERS} - {"cma_es"}  # the algorithm is called `cmaes`
    assert {name for table, name in found if table == "logs"} == {*algorithms, "black_box"}
    assert {name for table, name in found if table in ("arguments", "optimizer")} == {*algorithms, "black_box"}


def test_no_metric_is_explained_that_nothing_logs():
    text = "".join(page.read_text(encoding="utf-8") for page in marked())
    assert [tag for tag in METRICS if f"| `{tag}` |" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_pages_import_by_the_short_path():
    pages = [ROOT / "README.md", *PAGES, *sorted((ROOT / "docs").glob("*.ipynb"))]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert "from lm_gym.agents import" in text
    deep = re.findall(r"from lm_gym\.agents\.[\w.]+ import ([\w, ]+)", text)
    assert [names for names in deep if set(names.split(", ")) & set(dir(agents))] == []


def test_the_site_loads_only_files_of_its_own():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["theme"]["font"] is False
    assert [name for name in site["extra_css"] if not (ROOT / "docs" / name).exists()] == []
    assert "extra_javascript" not in site


def test_every_equation_becomes_mathml():
    page = '<p><span class="arithmatex">\\(a &lt; b\\)</span></p><div class="arithmatex">\\[\n\\frac{1}{Q}\n\\]</div>'
    drawn = on_page_content(page)
    assert drawn.count("<math") == 2
    assert "&lt;" in drawn
    assert "frac{" not in drawn
    with pytest.raises(LatexError):
        on_page_content('<span class="arithmatex">\\(\\frac{1\\)</span>')


def test_plugging_names_every_example_and_library():
    text = (ROOT / "docs" / "plugging.md").read_text(encoding="utf-8")
    for path in (ROOT / "examples").glob("*_*.py"):
        assert f"(../examples/{path.name})" in text
    assert gymnasium.VectorizeMode.VECTOR_ENTRY_POINT.name in text


RESULTS = ROOT / "docs" / "results"
GUIDES = {"0.973", "0.909"}  # micro and macro F1 that the guides print


INDEX = (RESULTS / "index.md").read_text(encoding="utf-8")


def numbers(text):
    """Return the numbers with a decimal point or a thousands separator."""
    return set(re.findall(r"(?<![\d.,])\d+[.,]\d+(?:,\d{3})*(?![\d.])", text))


@pytest.mark.parametrize("row", re.findall(r"^\| \[.*", INDEX, re.M))
def test_numbers_of_the_index_are_in_the_pages_that_it_names(row):
    named = "".join((RESULTS / page).read_text(encoding="utf-8") for page in re.findall(r"\]\((\w+\.md)\)", row))
    assert named
    assert numbers(row) - numbers(named) - GUIDES - {"30,000", "40,000"} == set()  # the budgets of rows


def test_numbers_of_other_tables_are_in_the_results():
    tables = "".join(re.findall(r"^\|.*\d\.\d.*", (ROOT / "README.md").read_text(encoding="utf-8"), re.M))
    tables += "".join(re.findall(r"^\| [^\[].*", INDEX, re.M))
    results = "".join(path.read_text(encoding="utf-8") for path in RESULTS.glob("*.md") if path.stem != "index")
    assert len(numbers(tables)) > 30
    assert numbers(tables) - numbers(results) - GUIDES == set()
    assert {cell for cell in re.findall(r"\d\.\d+ \[[\d., ]+\]", tables) if cell not in results} == set()
