"""Rules about imports, and about the exports of the packages."""

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lm_gym import agents
from lm_gym.tasks import TASKS

ROOT = Path(__file__).parents[1]
AGENTS = ROOT / "lm_gym" / "agents"  # a link in a checkout, which Path.rglob would not follow
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder, _, names in sorted(os.walk(ROOT / "lm_gym", followlinks=True))
    for path in sorted(Path(folder, name) for name in names if name.endswith(".py"))
}
HEAVY = {
    "torch", "transformers", "stable_baselines3", "sb3_contrib", "agents", "lm_gym.agents",
    "tianshou", "torchrl", "tensordict", "ray", "skrl",
}  # fmt: skip
# Each may import those before it.
RIVER = ["data", "tokenizer", "tasks", "rewards", "rendering", "envs", "testing"]
COMMANDS = ["train", "evaluate", "predict", "play", "reply", "pretrain"]
AGENTS_RIVER = ["files", "model", "search", "algorithms", "evaluation", "runs", "compare", "monitor", "commands"]


def imports(path: Path) -> set[str]:
    """Return the names that a file imports when it runs, including in functions, but not under `if TYPE_CHECKING`."""
    found: set[str] = set()
    stack: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        stack += ast.iter_child_nodes(node)
    return found


IMPORTS = {name: imports(path) for name, path in MODULES.items()}
CORE = [name for name in MODULES if not name.startswith("lm_gym.agents")]


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_the_rules_see_the_modules():
    assert {"lm_gym.envs.vector", "lm_gym.compat.stable_baselines3", "lm_gym.agents.model.policy"} <= set(MODULES)
    assert "lm_gym.envs.vector" in IMPORTS["lm_gym.envs.env"]


@pytest.mark.parametrize("module", CORE)
def test_the_core_needs_numpy_gymnasium_and_tokenizers_only(module):
    adapted = {module.rpartition(".")[2]} if module.startswith("lm_gym.compat.") else set()
    heavy = {package for package in HEAVY for name in IMPORTS[module] if inside(name, package)}
    assert heavy <= adapted, f"{module} imports {heavy}"


def test_nothing_in_the_core_imports_compat():
    for module in CORE:
        if not inside(module, "lm_gym.compat"):
            assert not any(inside(name, "lm_gym.compat") for name in IMPORTS[module]), module


def test_the_agents_have_one_importable_name():
    for module, names in IMPORTS.items():
        assert not any(inside(name, "agents") for name in names), f"{module} imports agents, not lm_gym.agents"


def test_no_import_cycles():
    def loaded(module: str, names: set[str]) -> set[str]:
        """Return the modules that importing these names runs, without the `__init__` of enclosing packages."""
        return {name for name in names if name in MODULES and name != module and not module.startswith(name + ".")}

    TopologicalSorter({module: loaded(module, names) for module, names in IMPORTS.items()}).prepare()


def upward(package: str, river: list[str], place_of: Mapping[str, str]) -> list[str]:
    """Return the imports of a package's modules that break the order."""

    def place(name: str) -> int:
        part = name.removeprefix(f"{package}.").partition(".")[0] if name.startswith(f"{package}.") else ""
        part = place_of.get(part, part)
        return river.index(part) if part in river else -1

    return [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in sorted(names)
        if 0 <= place(module) < place(name)
    ]


def test_imports_point_up_the_river():
    assert upward("lm_gym", RIVER, {}) == []


def test_imports_of_the_agents_point_up_their_river():
    assert upward("lm_gym.agents", AGENTS_RIVER, dict.fromkeys([*COMMANDS, "__main__"], "commands")) == []


def test_every_entry_of_the_agents_has_a_place():
    entries = {path.stem for path in AGENTS.iterdir() if path.name != "__pycache__"}
    assert len(entries) <= 16
    assert entries == {*AGENTS_RIVER, *COMMANDS, "__init__", "__main__"} - {"commands"}
    docstring = ast.get_docstring(ast.parse((AGENTS / "__init__.py").read_text(encoding="utf-8")))
    assert docstring is not None
    assert re.findall(r"^    (\w+)  ", docstring, re.M) == AGENTS_RIVER[:-1]


def test_only_runs_and_commands_read_command_lines():
    parsers = {"jsonargparse", "argparse"}
    found = {module for module, names in IMPORTS.items() if parsers & {name.partition(".")[0] for name in names}}
    allowed = [
        *(name for name in MODULES if inside(name, "lm_gym.agents.runs")),
        "lm_gym.agents.compare",
        "lm_gym.agents.monitor",
    ]
    allowed += [f"lm_gym.agents.{command}" for command in COMMANDS]
    assert found
    assert sorted(found - set(allowed)) == []


@pytest.mark.parametrize("module", ["lm_gym.compat.flat", "lm_gym.agents", "lm_gym.agents.__main__"])
def test_importing_is_light(module):
    code = f"import sys, {module}; print(sorted({HEAVY - {'lm_gym.agents'}!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["lm_gym", "lm_gym.envs", "lm_gym.rewards", "lm_gym.tasks"])
def test_exports_exist_and_are_sorted(package):
    module = importlib.import_module(package)
    names = module.__all__
    assert all(hasattr(module, name) for name in names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def test_the_short_names_of_the_agents_exist():
    assert {"PPO", "REINFORCE", "Supervised", "ES", "LMPolicy", "evaluate"} <= set(agents.__all__)
    assert [name for name in agents.__all__ if not hasattr(agents, name)] == []


def test_type_checkers_see_the_short_names_of_the_agents():
    tree = ast.parse((AGENTS / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {name: f"lm_gym.agents.{module}" for name, module in agents._MODULE_OF.items()}


def test_a_command_does_not_hide_the_short_name():
    importlib.import_module("lm_gym.agents.evaluate")
    assert agents.evaluate is importlib.import_module("lm_gym.agents.evaluation.playing").evaluate


TASK_NAMES = {"NER", "MaskedLM"} | {name for kind in TASKS.values() for name in (kind.name, kind.env_id)}
TAGS_ARE_THEIRS = ("lm_gym.iob2", "lm_gym.data.", "lm_gym.tasks.")  # modules that may test whether a tag is O


def questions(path: Path, module: str) -> list[str]:
    """Return the places in a file that distinguish between tasks."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {side.value for side in sides if isinstance(side, ast.Constant)}
            attributes = {side.attr for side in sides if isinstance(side, ast.Attribute)}
            asked = words & TASK_NAMES or (None in words and "choice_names" in attributes)
            if asked or ("O" in words and not module.startswith(TAGS_ARE_THEIRS)):
                found.append(ast.unparse(node))
        if isinstance(node, ast.Name) and node.id in {kind.__name__ for kind in TASKS.values()}:
            found.append(node.id)
        if isinstance(node, ast.keyword | ast.arg) and node.arg in ("tagging", "task_hint"):
            found.append(node.arg)
    return found


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("lm_gym.tasks")])
def test_no_module_asks_which_task_it_works_for(module):
    assert questions(MODULES[module], module) == []


def test_such_a_question_is_found(tmp_path):
    source = (
        'a = task.choice_names is None\nb = "O" in names\nc = env.id == "lm_gym/NER-v0"\nd = "NER" in name\n'
        "e = isinstance(task, MaskedLM)\nf = known(tagging=True)\n"
    )
    (tmp_path / "asks.py").write_text(source)
    assert len(questions(tmp_path / "asks.py", "lm_gym.agents.asks")) == 6
