"""The long help of `train`: one section of the options, all of them, or the algorithms."""

import inspect
from argparse import SUPPRESS
from collections.abc import Sequence

from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.runs.command_line import parser_for
from lm_gym.agents.runs.messages import fail
from lm_gym.agents.runs.options import SECTIONS
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.settings import SettingsError


def help_on(topic: str, arguments: Sequence[str]) -> str:
    """Return help.

    Args:
        topic: "all", "algo", or the name of a section.
        arguments: those of the command line; --algo and --env.id decide the options.
    """
    if topic == "algo":
        return _algorithms()
    try:
        parser, _ = parser_for([argument for argument in arguments if argument not in ("-h", "--help", topic)])
    except SettingsError as error:
        fail(program("train"), error)
    if topic == "all":
        return parser.format_help().rstrip()
    for action in parser._actions:
        if not action.dest.startswith(f"{topic}."):
            action.help = SUPPRESS
    parser.usage, parser.description = f"{program('train')} [--{topic}.KEY VALUE] …", SECTIONS[topic]
    return parser.format_help().rstrip()


def _algorithms() -> str:
    width = max(map(len, ALGORITHMS))
    firsts = {name: (inspect.getdoc(kind) or "").partition("\n")[0] for name, kind in ALGORITHMS.items()}
    return "\n".join(f"  {name:{width}}  {first}" for name, first in firsts.items())
