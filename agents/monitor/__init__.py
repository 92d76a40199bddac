"""Label a stream of texts line by line with a trained classifier, and raise alerts.

A line is a text, or a JSON object with a text and, optionally, an id, a time and the topic named by --by. For each text
the output has a JSON line with its label and probability. An alert is another line. It says that the share of a label
in the last texts of a topic differs from the share in its first texts, by Fisher's exact test. Lines without a text go
to a separate file.

With --state, the same command resumes after a kill at any moment; no line is lost or counted twice.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import IO

from lm_gym.agents.monitor.alerts import PER, Rule
from lm_gym.agents.monitor.journal import Journal
from lm_gym.agents.monitor.monitor import Monitor
from lm_gym.agents.monitor.stream import batches
from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.pipes import output_closed, standard_input
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.run_parser import PREDICTIONS_MAY_CHANGE, RunParser, read_options, run_parser, say_loading
from lm_gym.bounds import PositiveFloat, PositiveInt, check_value
from lm_gym.naming import check_choice


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's by default."""
    options, overrides = read_options(_parser(), arguments)
    show_warnings_plainly()
    say_loading(options.run_dir, results=True)
    with ExitStack() as held:
        try:
            check_value("--batch", options.batch, PositiveInt)
            check_value("--max_delay", options.max_delay, PositiveFloat)
            rule = Rule(options.baseline, options.window, options.step, options.false_alarms)
            journal = Journal(options.output, options.rejected or _beside(options.output), options.state)
            monitor = _monitor(options, overrides, rule, held)
            state = journal.resume()
            if state is None:
                journal.commit([], [], monitor.state())  # from now on a kill leaves a state
            else:
                monitor.restore(state)
            stream = held.enter_context(_opened(options.input))
            if options.input != "-":
                _seek(stream, options.input, monitor.offset)
        except (ValueError, OSError, RunFolderError) as error:
            fail(program("monitor"), error)
        lines = batches(stream, options.batch, options.max_delay, options.follow)
        if options.input == "-":
            lines = _without(lines, monitor.line)
        try:
            with suppress(KeyboardInterrupt):  # the journal holds what was read
                for batch in lines:
                    results, rejected = monitor.take(batch)
                    journal.commit(results, rejected, monitor.state())
        except BrokenPipeError:
            output_closed()
        except OSError as error:
            fail(program("monitor"), error)
    counted = ", ".join(f"{monitor.counts[name]:,} {name}" for name in ("texts", "alerts", "rejected", "duplicates"))
    sys.stderr.write(f"{monitor.line:,} lines: {counted}\n")
    sys.stderr.writelines(f"note: {note}\n" for note in monitor.notes())


def _monitor(options: Namespace, overrides: Sequence[str], rule: Rule, held: ExitStack) -> Monitor:
    import torch as th  # the model libraries take seconds to load
    from torch.utils.tensorboard import SummaryWriter

    from lm_gym.agents.monitor.classifier import Classifier
    from lm_gym.agents.runs.trained_run import open_run

    run = open_run(options.run_dir, overrides, PREDICTIONS_MAY_CHANGE)
    if run.settings.threads is not None:
        th.set_num_threads(run.settings.threads)
    classifier = Classifier(run)
    for label in options.label:
        check_choice("--label", label, classifier.labels)
    scalar = None
    if options.tensorboard is not None:
        writer = SummaryWriter(str(options.tensorboard))
        held.callback(writer.close)
        scalar = writer.add_scalar
    return Monitor(classifier, rule, options.label or classifier.labels, options.by, scalar)


def _beside(output: Path | None) -> Path:
    return Path("rejected.txt") if output is None else output.with_name(f"{output.name}.rejected")


def _opened(name: str) -> IO[bytes]:
    return standard_input() if name == "-" else Path(name).open("rb")


def _seek(stream: IO[bytes], name: str, offset: int) -> None:
    """Move to the next byte of a file."""
    size = stream.seek(0, 2)
    if size < offset:
        raise ValueError(
            f"{name} has {size} bytes, but {offset} were read before: give the file that belongs to the state"
        )
    stream.seek(offset)


def _without(lines: Iterator[list[bytes]], count: int) -> Iterator[list[bytes]]:
    """Drop the first `count` lines, which were read before."""
    for batch in lines:
        left = list(islice(batch, count, None))
        count -= len(batch) - len(left)
        if left:
            yield left


def _parser() -> RunParser:
    parser = run_parser(program("monitor"), __doc__, changes=PREDICTIONS_MAY_CHANGE)
    parser.add_argument("--input", required=True, metavar="FILE|-", help="the stream; - is standard input")
    parser.add_argument("--follow", action="store_true", help="wait for more lines at the end of the file")
    parser.add_argument("--by", metavar="KEY", help="key of the topic; by default all texts have one topic")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file for results; by default standard output")
    parser.add_argument(
        "--rejected", type=Path, metavar="FILE", help="lines without a text; by default OUTPUT.rejected"
    )
    parser.add_argument("--state", type=Path, metavar="FILE", help="file to resume from after a kill")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="log shares by topic and label here")
    parser.add_argument(
        "--batch", type=int, default=1024, help="maximum number of texts per batch; by default %(default)s"
    )
    parser.add_argument(
        "--max_delay",
        type=float,
        default=0.2,
        help="maximum wait of a line for its batch, in seconds; by default %(default)s",
    )
    parser.add_argument("--label", action="append", default=[], help="label to watch; may be repeated; by default all")
    rule = Rule()
    parser.add_argument(
        "--baseline",
        type=int,
        default=rule.baseline,
        help="number of first texts of a topic, which define its normal share; by default %(default)s",
    )
    parser.add_argument(
        "--window",
        type=int,
        default=rule.window,
        help="number of last texts of a topic to test; by default %(default)s",
    )
    parser.add_argument(
        "--step",
        type=int,
        default=rule.step,
        help="number of texts of a topic between two tests; by default %(default)s",
    )
    parser.add_argument(
        "--false_alarms",
        type=float,
        default=rule.false_alarms,
        help=f"maximum expected number of false alarms per {PER:,} texts; by default %(default)g",
    )
    return parser
