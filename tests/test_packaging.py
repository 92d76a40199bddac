"""The contents of wheel and sdist, and the wheel next to a distribution with a top-level `agents`."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lm_gym.agents.__main__ import main
from tests.runs import options, write_corpus

ROOT = Path(__file__).parents[1]
PARTS = [
    "agents", "benchmarks", "configs", "constraints", "docs", "examples", "lm_gym", "tests", ".ci",
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md",
    "constraints.txt", "mkdocs.yml", "pyproject.toml",
]  # fmt: skip
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
OTHER = {
    "pyproject.toml": '[project]\nname = "other-agents"\nversion = "1"\n[tool.setuptools]\npackages = ["agents"]\n',
    "agents/__init__.py": "OWNER = 'another project'\n",
    "agents/train.py": "raise SystemExit('the train of another project')\n",
}


def run(*command: object, cwd: Path, **variables: str) -> str:
    """Run a command that must succeed and return its output; PYTHONPATH is only what `variables` gives."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(hook: str, source: Path, out: Path) -> Path:
    """Build a wheel or an sdist of a source tree without build isolation, which needs a network."""
    return out / run(sys.executable, "-c", BUILD, hook, out, cwd=source).splitlines()[-1]


def files(folder: Path) -> set[str]:
    """Return the files of a folder and of the folders that it links to, by relative path."""
    walked = os.walk(folder, followlinks=True)
    found = {Path(parent, name).relative_to(folder).as_posix() for parent, _, names in walked for name in names}
    return {name for name in found if "__pycache__" not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with our sdist, unpacked in `sdist/`, the wheel built from it, and another project's wheel."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "checkout"
    source.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=leave)
        else:
            shutil.copy2(ROOT / name, source / name)
    with tarfile.open(build("build_sdist", source, folder)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    build("build_wheel", unpacked.rename(folder / "sdist"), folder)
    for name, text in OTHER.items():
        path = folder / "other" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    build("build_wheel", folder / "other", folder)
    return folder


@pytest.fixture(scope="module", params=["ours first", "ours last"])
def site(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install both wheels in a folder, one after the other."""
    folder = tmp_path_factory.mktemp("site")
    wheels = [next(built.glob(name)) for name in ("lm_gym-*.whl", "other_agents-*.whl")]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder]
    for wheel in wheels if request.param == "ours first" else reversed(wheels):
        run(*install, wheel, cwd=folder)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("lm_gym-*.whl"))) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(f"lm_gym/{name}" for name in files(ROOT / "lm_gym"))
    held = {"agents/__main__.py", "agents/evaluation/page.css", "builtin/tiny/model.safetensors", "py.typed"}
    assert {f"lm_gym/{name}" for name in held | {"configs/ner_ppo.yaml", "configs/compare/conll.yaml"}} <= set(names)


def test_the_sdist_holds_the_repository(built: Path) -> None:
    there = {name for name in files(built / "checkout") if not name.startswith("agents/")} | {"agents/__init__.py"}
    assert sorted(there - files(built / "sdist")) == []
    assert [path.name for path in (built / "sdist/agents").iterdir()] == ["__init__.py"]  # the code is included once


def test_the_sdist_runs_its_tests(built: Path) -> None:
    sdist = built / "sdist"
    where = "import agents.files, lm_gym; print(agents.files.__file__, lm_gym.__file__, sep='\\n')"
    loaded = run(sys.executable, "-c", where, cwd=sdist).splitlines()
    assert loaded == [str(sdist / "lm_gym/agents/files.py"), str(sdist / "lm_gym/__init__.py")]
    tests = ["tests/test_architecture.py", "tests/test_readme.py"]
    run(sys.executable, "-m", "pytest", "-k", "not examples_run and not short_name", *tests, cwd=sdist)


def test_another_agents_stays_importable(site: Path, tmp_path: Path) -> None:
    where = "import agents, lm_gym.agents as ours; print(agents.OWNER, ours.__file__, sep='\\n')"
    loaded = run(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    assert loaded == ["another project", str(site / "lm_gym/agents/__init__.py")]


def reported(run_dir: Path) -> dict[str, float]:
    """Return the test metrics at the end of training."""
    content = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    return dict(content["metrics"]["test"])


def evaluated(run_dir: Path) -> object:
    """Return the test metrics of the command `evaluate`."""
    content = json.loads((run_dir / "evaluation-data-test.json").read_text(encoding="utf-8"))
    return pytest.approx(content["metrics"])


@pytest.mark.parametrize("site", ["ours first"], indirect=True)
def test_the_wheel_trains_what_a_checkout_opens(site: Path, tmp_path: Path) -> None:
    given = ["--config", "ner_reinforce", *options(write_corpus(tmp_path / "data"), tmp_path / "run")]
    run(sys.executable, site / "bin/lm-gym", "train", *given, cwd=tmp_path, PYTHONPATH=str(site))
    assert (tmp_path / "run/command.txt").read_text(encoding="utf-8").startswith("lm-gym train --config ner_reinforce ")
    main(["evaluate", str(tmp_path / "run")])
    assert evaluated(tmp_path / "run") == reported(tmp_path / "run")


@pytest.mark.parametrize("site", ["ours last"], indirect=True)
def test_the_wheel_opens_what_a_checkout_trains(site: Path, tmp_path: Path) -> None:
    main(["train", *options(write_corpus(tmp_path / "data"), tmp_path / "run")])
    run(sys.executable, site / "bin/lm-gym", "evaluate", tmp_path / "run", cwd=tmp_path, PYTHONPATH=str(site))
    assert evaluated(tmp_path / "run") == reported(tmp_path / "run")
