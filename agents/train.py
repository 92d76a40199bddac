"""Train an agent on a text environment: the command `train`. See its --help.

The model libraries are imported after the first line is printed, because they take seconds to load.
"""

import sys
import warnings
from collections.abc import Sequence

from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.options import help_wanted, short_help, starting
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.rendering import printable


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    show_warnings_plainly()
    try:
        topic = help_wanted(given)
        if topic is None and "--print_config" not in given:
            _say(starting(given))
    except SettingsError as error:
        fail(program("train"), error)
    if topic == "":
        _say(short_help())
    elif topic is not None:
        from lm_gym.agents.runs.help import help_on

        _say(help_on(topic, given))
    else:
        from lm_gym.agents.runs.training import run_training

        run_training(given)


def _say(text: str) -> None:
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*max_length=.* cuts")  # the notes report it
    main()
