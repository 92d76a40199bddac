"""Predict texts with the best model of a run.

The input is raw text (one text on each line), JSONL, CoNLL columns, CSV, TSV, Parquet or Arrow, with or without gold.
The output has one JSON object for each text, in the same order: the record as it was given, with the predictions added.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lm_gym.agents.files import streamed_text, to_line
from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.pipes import output_closed, standard_input
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.run_parser import PREDICTIONS_MAY_CHANGE, RunParser, read_options, run_parser, say_loading
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.data import DataError
from lm_gym.data.conll import one_column
from lm_gym.data.formats import FORMATS
from lm_gym.data.stream import stream_records

if TYPE_CHECKING:
    from lm_gym.agents.evaluation.predicting import Predicted, Predictor


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    options, overrides = read_options(_parser(), arguments)
    show_warnings_plainly()
    warnings.filterwarnings("ignore", message=".*max_length=.* cuts")  # the notes report it
    console, began = Terminal(stderr=True), time.monotonic()
    say_loading(options.run_dir, results=True)
    from lm_gym.agents.runs.trained_run import open_run  # loads the model libraries

    try:
        run = open_run(options.run_dir, overrides, PREDICTIONS_MAY_CHANGE)
        predictor, reading = run.predictor()
        write = _writer(options.output_format, predictor)
        source = standard_input() if options.input == "-" else Path(options.input)
        stream = stream_records(source, reading, options.format)
        with _opened(options.output) as output:
            for predicted in predictor.predict(stream):
                output.write(write(predicted))
    except BrokenPipeError:
        output_closed()
    except (ValueError, OSError, RunFolderError) as error:
        fail(program("predict"), error)
    counts, seconds = predictor.counts, time.monotonic() - began
    texts = f"{counts.texts:,} {'text' if counts.texts == 1 else 'texts'}"
    console.say(f"{texts} in {seconds:.1f} s, with {run.folder.best}")
    for note in counts.notes(predictor.task, run.settings.env.max_length):
        console.say(f"note: {note}")


def _writer(format_: str, predictor: Predictor) -> Callable[[Predicted], str]:
    """Return the function that writes a prediction.

    Raises:
        DataError: CoNLL columns are asked for, and the task does not decide each word.
    """
    if format_ == "jsonl":
        return lambda predicted: to_line(predicted.merged())
    if not predictor.task.by_word:
        raise DataError(f"--output_format conll: {predictor.task.env_id} does not decide each word; use jsonl")
    return _columns


def _columns(predicted: Predicted) -> str:
    """Return a line `word choice` for each word and a blank line."""
    if not predicted.words:
        return ""
    choices = predicted.found["predicted"]
    pairs = zip(predicted.words, choices, strict=True)
    return "".join(f"{one_column(word)} {'_' if choice is None else choice}\n" for word, choice in pairs) + "\n"


@contextmanager
def _opened(output: str) -> Iterator[IO[str]]:
    """Open the output; a file appears when it is complete."""
    if output == "-":
        yield sys.stdout
        sys.stdout.flush()
    else:
        with streamed_text(Path(output)) as file:
            yield file


def _parser() -> RunParser:
    parser = run_parser(program("predict"), __doc__, changes=PREDICTIONS_MAY_CHANGE)
    parser.add_argument("--input", required=True, metavar="FILE|-", help="the texts; - for standard input")
    parser.add_argument(
        "--output", default="-", metavar="FILE|-", help="file for the predictions; by default standard output"
    )
    parser.add_argument(
        "--format",
        choices=[*FORMATS],
        help="format of the input; by default inferred from the suffix or the first lines of a file, and from the "
        "first line of standard input, which is a JSON object or a text",
    )
    parser.add_argument(
        "--output_format",
        choices=["jsonl", "conll"],
        default="jsonl",
        help="by default %(default)s; conll: a line `word choice` for each word, for tasks that decide each word",
    )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
