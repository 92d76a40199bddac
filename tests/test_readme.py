"""The README's examples run, and the files that it names exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int, tmp_path: Path) -> None:
    code = EXAMPLES[number].replace("2 * model.timesteps_per_pass", "2_000")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_files_that_are_named_exist() -> None:
    at = r"https://(?:github\.com/lm-gym/lm-gym/blob|raw\.githubusercontent\.com/lm-gym/lm-gym)/main/"
    named = {*re.findall(rf"{at}([\w/.-]+)", README), *re.findall(r"configs/[\w/]+\.yaml", README)}
    assert len(named) >= 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_links_work_on_a_package_index() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README) + re.findall(r"^\[[^\]]+\]: (\S+)", README, re.M)
    assert [target for target in targets if not target.startswith("https://")] == []
    used, defined = (set(re.findall(form, README, re.M)) for form in (r"\]\[([^\]]+)\]", r"^\[([^\]]+)\]: "))
    assert used == defined


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_make_install_has_the_packages_that_the_commands_ask_for() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^\$\(VENV\)/\.installed:.*?\n\n", makefile, re.MULTILINE | re.DOTALL)
    assert recipe is not None
    extras = re.search(r'"\.\[([\w,]+)\]"', recipe[0])
    assert extras is not None
    assert set(extras[1].split(",")) == {"compare", "hub"}
