"""The house rules about imports, and about what the packages export."""

import ast
import importlib
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("lm_gym", "agents")
    for path in sorted((ROOT / package).rglob("*.py"))
}
HEAVY = {
    "torch", "transformers", "stable_baselines3", "sb3_contrib", "agents",
    "tianshou", "torchrl", "tensordict", "ray", "skrl",
}  # fmt: skip
RIVER = ["data", "tokenizer", "tasks", "rewards", "rendering", "envs", "testing"]  # each may import those before it


def imports(path: Path) -> set[str]:
    """Names that a file imports when it runs, function bodies included, `if TYPE_CHECKING` left out."""
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


def test_the_rules_see_the_modules():
    assert {"lm_gym.envs.vector", "lm_gym.compat.stable_baselines3", "lm_gym.agents.model.policy"} <= set(MODULES)
    assert "lm_gym.envs.vector" in IMPORTS["lm_gym.envs.env"]


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("lm_gym")])
def test_lm_gym_needs_numpy_gymnasium_and_tokenizers_only(module):
    adapted = {module.rpartition(".")[2]} if module.startswith("lm_gym.compat.") else set()
    heavy = {name.split(".")[0] for name in IMPORTS[module]} & HEAVY
    assert heavy <= adapted, f"{module} imports {heavy}"


def test_nothing_in_lm_gym_imports_compat():
    for module, names in IMPORTS.items():
        if module.startswith("lm_gym") and not module.startswith("lm_gym.compat"):
            assert not any(name.startswith("lm_gym.compat") for name in names), module


def test_no_import_cycles():
    def loaded(module: str, names: set[str]) -> set[str]:
        """The modules that importing these names runs, an enclosing package's `__init__` left out."""
        return {name for name in names if name in MODULES and name != module and not module.startswith(name + ".")}

    TopologicalSorter({module: loaded(module, names) for module, names in IMPORTS.items()}).prepare()


def test_imports_point_up_the_river():
    def place(name: str) -> int:
        parts = name.split(".")
        return RIVER.index(parts[1]) if parts[0] == "lm_gym" and len(parts) > 1 and parts[1] in RIVER else -1

    for module, names in IMPORTS.items():
        if place(module) >= 0:
            below = {name for name in names if place(name) > place(module)}
            assert not below, f"{module} imports {below}"


def test_importing_lm_gym_is_light():
    code = f"import sys, lm_gym.compat.flat; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["lm_gym", "lm_gym.envs", "lm_gym.rewards", "lm_gym.tasks"])
def test_exports_exist_and_are_sorted(package):
    module = importlib.import_module(package)
    names = module.__all__
    assert all(hasattr(module, name) for name in names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
