"""Answer messages from a bank of replies with a trained model: type a message, and see the best replies.

BM25 looks up the replies of the bank that share most words with the message, and the model ranks them by its
probabilities. A model with head=similarity ranks the whole bank, without BM25. With --input, the command answers a file
of messages instead: a message on each line, or JSON objects with a message and, optionally, the turns before it. The
output then has a JSON line for each message.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lm_gym.agents.files import to_line
from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.pipes import output_closed
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.run_parser import RunParser, read_options, run_parser, say_loading
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.bounds import PositiveInt, check_value
from lm_gym.data.text_files import open_text
from lm_gym.tasks.reply_bank import Message, read_bank

if TYPE_CHECKING:
    from lm_gym.agents.runs.ranking import BankRanker, Ranker, Ranking


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    options, overrides = read_options(_parser(), arguments)
    show_warnings_plainly()
    say_loading(options.run_dir, results=options.input is not None)
    from lm_gym.agents.runs.ranking import make_ranker  # loads the model libraries
    from lm_gym.agents.runs.trained_run import open_run

    try:
        if options.k is not None:
            check_value("--k", options.k, PositiveInt)
        check_value("--top", options.top, PositiveInt)
        bank = read_bank(options.bank)
        rank = make_ranker(open_run(options.run_dir, overrides), bank, options.k)
        if options.input is None:
            _talk(rank, options)
        else:
            for message in _messages(Path(options.input)):
                sys.stdout.write(_line(message, rank(message)[: options.top]))
                sys.stdout.flush()
    except BrokenPipeError:
        output_closed()
    except (ValueError, OSError, RunFolderError) as error:
        fail(program("reply"), error)


def _talk(rank: Ranker | BankRanker, options: Namespace) -> None:
    """Answer what is typed, until an empty line or the end of the input."""
    console = Terminal()
    console.say("Type a message; an empty line ends.")
    for typed in _typed(console):
        for number, (reply, probability) in enumerate(rank(Message(typed))[: options.top], 1):
            console.say(f"{number}. {probability:.3f}  {reply or '(no reply)'}")


def _typed(console: Terminal) -> Iterator[str]:
    while True:
        try:
            typed = console.input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not typed:
            return
        yield typed


def _messages(path: Path) -> Iterable[Message]:
    """Read the messages of a file; blank lines are skipped.

    Raises:
        ValueError: a line that begins with a brace is not a JSON object with a message, or the file cannot be read.
    """
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith("{"):
                yield _message(line, f"{path}, line {number}")
            elif line.strip():
                yield Message(line.strip())


def _message(line: str, place: str) -> Message:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: bad JSON ({error})") from None
    text, turns = record.get("message"), record.get("turns", [])
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: no 'message': give a string with words")
    if not isinstance(turns, list) or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise ValueError(f"{place}: 'turns' is {turns!r}: give a list of strings with words")
    return Message(text, tuple(turns))


def _line(message: Message, ranking: Ranking) -> str:
    replies = [{"reply": reply, "probability": round(probability, 4)} for reply, probability in ranking]
    return to_line({"message": message.text, "replies": replies})


def _parser() -> RunParser:
    parser = run_parser(program("reply"), __doc__)
    parser.add_argument("--bank", required=True, metavar="FILE", help="file of replies, one per line or JSON object")
    parser.add_argument("--input", metavar="FILE", help="file of messages; by default you type them")
    parser.add_argument("--k", type=int, help="number of replies that BM25 looks up for the model; by default 5")
    parser.add_argument("--top", type=int, default=3, help="number of replies to show; by default %(default)s")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
