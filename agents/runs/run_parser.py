"""The command line and the first line of the commands that open a trained run.

This module imports neither torch nor a model library, so that `--help` and the first line appear at once.
"""

import sys
from argparse import Action, ArgumentError, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lm_gym.agents.runs.messages import fail
from lm_gym.agents.runs.options import GENERAL
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.naming import among, nearest
from lm_gym.rendering import printable

# settings of a run that evaluations may change; the options of the task may change too
MAY_CHANGE = ("env.dataset", "env.max_length", "data.", "evaluation.num_envs", "device", "threads")
PREDICTIONS_MAY_CHANGE = (
    *("env.max_length", "evaluation.num_envs", "device", "threads"),
    *(f"data.{name}" for name in ("columns", "token_column", "text_column", "delimiter", "header")),
)


class RunParser(ArgumentParser):
    """A parser whose errors are one line and suggest the nearest name."""

    def error(self, message: str) -> NoReturn:
        """End the program with a message."""
        fail(self.prog, SettingsError(message))

    def _check_value(self, action: Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise ArgumentError(action, f"unknown value {value!r}{among(value, map(str, action.choices))}")

    def check_names(self, arguments: Sequence[str]) -> None:
        """End the program if an option is neither of this command nor a setting of a run."""
        known = [*self._option_string_actions, *(f"--{name}" for name in GENERAL)]
        for argument in arguments:
            name = argument.partition("=")[0]
            if name.startswith("--") and "." not in name and name not in known:
                self.error(f"no option {name}{nearest(name, known)}; --help lists them")


def run_parser(
    program: str, description: str | None, split: str | None = None, keys: str = "", changes: Sequence[str] = MAY_CHANGE
) -> RunParser:
    """Make the parser of a command that opens a trained run, with the run folder and `--split`.

    Args:
        program: the name of the command.
        description: the description of the command.
        split: the default split; None for a command that does not read the data of the run.
        keys: the keys that the command reads, listed at the end of the help.
        changes: settings of the run that may change.
    """
    may_change = "Settings of the run that you may change: " + ", ".join(f"--{key}" for key in changes)
    may_change += ", and the options of the environment's task"
    parser = RunParser(
        prog=program,
        description=description,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=(f"Keys: {keys}.\n" if keys else "") + may_change,
    )
    parser.add_argument(
        "run_dir", type=Path, help="the run folder; or the folder or hub:<id> of a model that a run has saved"
    )
    if split is not None:
        parser.add_argument("--split", default=split, help=f"train, validation or test; by default {split}")
    return parser


def read_options(parser: RunParser, arguments: Sequence[str] | None) -> tuple[Namespace, list[str]]:
    """Return the options of a command, and its other arguments, which are settings of the run.

    An unknown option ends the program with a message that suggests the nearest one.
    """
    given = sys.argv[1:] if arguments is None else arguments
    parser.check_names(given)
    return parser.parse_known_args(given)


def say_loading(run: Path, results: bool) -> None:
    """Print the first line of a command, before the libraries of models are loaded.

    Args:
        run: the run.
        results: whether standard output is for results only; the line then goes to a terminal on standard error.
    """
    stream = sys.stderr if results else sys.stdout
    if not results or stream.isatty():
        stream.write(f"loading {printable(str(run))} …\n")
        stream.flush()
