"""The command `lm-gym`: `lm-gym train …` runs `lm_gym.agents.train`, and so on for every name in COMMANDS."""

import sys
from collections.abc import Sequence
from importlib import import_module

from lm_gym.agents.runs.program import program
from lm_gym.naming import among

COMMANDS = {
    "train": "train an agent on a text environment, or resume a run",
    "evaluate": "play the best model of a run on a split, and report its metrics",
    "predict": "predict texts without gold with the best model of a run",
    "play": "step through texts as a trained model decides them",
    "reply": "rank the replies of a bank for the messages that you type",
    "monitor": "label a stream of texts with a trained classifier, and raise alerts",
    "compare": "train every row of a study under one budget, and write tables and charts",
    "pretrain": "pretrain a small BERT by masked language modelling on the builtin texts",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, importing no other; `arguments` are the command line's by default."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(_help())
    elif command in COMMANDS:
        import_module(f"lm_gym.agents.{command}").main(rest)
    else:
        sys.stderr.write(f"{program('').rstrip()}: no command {command!r}{among(command, COMMANDS)}\n")
        raise SystemExit(2)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [f"usage: {program('COMMAND')} …", "", *lines, "", f"{program('COMMAND')} --help shows its options."]
    )


if __name__ == "__main__":
    main()
