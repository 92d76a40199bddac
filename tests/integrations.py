"""Each RL library in its own temporary environment: its tests, its example, and a table.

    python tests/integrations.py [--pin] [LIBRARY …]

A library's exact versions are those of `constraints.txt`, and what `constraints/<library>.txt` adds to them or holds
otherwise; `--pin` writes that file anew from what was installed. The table goes to standard output, all else to
standard error; the status is 1 where anything failed, or was skipped that this library's environment has to run.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
VERSIONS = {  # distributions whose versions the table shows, by extra; "core" is what the tests in CI need
    "core": ("gymnasium", "stable-baselines3", "sb3-contrib"),
    "tianshou": ("tianshou", "gymnasium"),
    "torchrl": ("torchrl", "gymnasium"),
    "rllib": ("ray", "gymnasium"),
    "skrl": ("skrl", "gymnasium"),
}
CORE = ("tests/test_examples.py", "tests/test_compat.py", "tests/test_compat_flat.py", "tests/test_combinations.py")
COLUMNS = ("environment", "versions", "tests", "example", "trained", "random", "all O", "seconds", "result")


class Outcome(NamedTuple):
    """The results of one environment: the figures of its examples by name, and the outcome of its tests."""

    examples: dict[str, dict[str, str]]
    passed: int
    failed: int
    skipped: int


def pins(path: Path) -> dict[str, str]:
    """Return the lines `name==version` of a constraints file by normalised name; an empty dict if there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {normal(line): line for line in lines if "==" in line and not line.startswith("#")}


def normal(line: str) -> str:
    """Return the name of the distribution in a pin."""
    return re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()


def version(line: str) -> str:
    """Return the version in a pin."""
    return line.partition("==")[2]


def run(*command: str | Path, check: bool = True) -> str:
    """Run a command in the checkout and return its standard output.

    Raises:
        CalledProcessError: if it fails, unless `check` is False.
    """
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, file=sys.stderr)
    if check:
        done.check_returncode()
    return done.stdout


def install(library: str, folder: Path, *, pin: bool) -> dict[str, str]:
    """Build an environment and return the pins of its distributions."""
    own, shared = ROOT / "constraints" / f"{library}.txt", pins(ROOT / "constraints.txt")
    limits = folder / "constraints.txt"
    run(sys.executable, "-m", "venv", folder)
    limits.write_text("\n".join((shared | pins(own)).values()), encoding="utf-8")
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--constraint", limits)
    run(*pip, "torch")
    run(*pip, "--editable", ".[test]" if library == "core" else f".[test,{library}]")
    installed = folder / "installed.txt"
    installed.write_text(run(python, "-m", "pip", "freeze", "--exclude-editable"), encoding="utf-8")
    frozen = {name: line.partition("+")[0] for name, line in pins(installed).items()}  # torch has a local version
    if pin and library != "core":
        more = [line for name, line in frozen.items() if version(shared.get(name, "")) != version(line)]
        own.parent.mkdir(exist_ok=True)
        own.write_text(
            "\n".join([f"# What {library} adds to constraints.txt, or holds otherwise.", *more, ""]), encoding="utf-8"
        )
    return frozen


def test(library: str, folder: Path) -> Outcome:
    """Run the tests that are marked for a library."""
    report = folder / "report.xml"
    what = CORE if library == "core" else ("-m", library)
    others = " and ".join(f"not {other}" for other in VERSIONS if other != "core")
    what = (*what, "-m", others) if library == "core" else what
    run(folder / "bin" / "python", "-m", "pytest", "-q", *what, f"--junitxml={report}", check=False)
    examples, passed, failed, skipped = {}, 0, 0, 0
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        failed, skipped = failed + bad, skipped + (case.find("skipped") is not None)
        passed += not bad and case.find("skipped") is None
        if "test_it_trains" in case.get("name", ""):
            figures = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
            name = case.get("name", "").partition("[")[2].rstrip("]")
            examples[name] = figures | {"seconds": f"{float(case.get('time', 0)):.0f}", "bad": "yes" * bad}
    return Outcome(examples, passed, failed, skipped)


def rows(library: str, frozen: dict[str, str], outcome: Outcome) -> list[list[str]]:
    """Return the rows of the table, one for each example."""
    versions = ", ".join(frozen[name].replace("==", " ") for name in VERSIONS[library])
    tests = f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped"
    return [
        [
            library,
            versions,
            tests,
            name,
            *(figures.get(row, "—") for row in ("trained", "random", "all O", "seconds")),
            "**failed**" if figures["bad"] or outcome.failed or outcome.skipped else "passed",
        ]
        for name, figures in (outcome.examples or {"—": {"bad": "yes"}}).items()
    ]


def main() -> None:
    """Build the environments, run the tests, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help=f"of {', '.join(VERSIONS)} (default: all)")
    parser.add_argument("--pin", action="store_true", help="write constraints/<library>.txt of what was installed")
    arguments = parser.parse_args()
    unknown = set(arguments.libraries) - set(VERSIONS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(VERSIONS)}")
    show(list(COLUMNS), ["---"] * len(COLUMNS))
    well = True
    for library in arguments.libraries or VERSIONS:
        with tempfile.TemporaryDirectory(prefix=f"lm-gym-{library}-") as folder:
            try:
                frozen = install(library, Path(folder), pin=arguments.pin)
            except subprocess.CalledProcessError as error:
                show([library, f"`{error.cmd[2:5]}` failed", *["—"] * 6, "**not installed**"])
                well = False
                continue
            outcome = test(library, Path(folder))
        show(*rows(library, frozen, outcome))
        well &= bool(outcome.examples) and not outcome.failed and not outcome.skipped
    if not well:
        raise SystemExit("something failed, was skipped, or could not be installed")


def show(*table: list[str]) -> None:
    """Print each row of the table as soon as it is known."""
    for row in table:
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
