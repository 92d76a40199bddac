"""Reads a stream of texts line by line, labels each by a trained classifier, and raises alerts.

A line is a text, or a JSON object with text and, if it has them, id, time and the topic that --by names. Each text
gives a line of JSON: line, label, probability. Each alert gives another: the share of a label among the last texts of a
topic departs from that of its first ones, by Fisher's exact test. Lines without a text are kept aside in a file.

With --state, whatever kills the monitor, the same command goes on where it was: no line is lost or counted twice.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO

import torch as th
from torch.utils.tensorboard import SummaryWriter
from transformers.utils.logging import disable_progress_bar

from lm_gym.agents.monitoring.alerts import PER, Rule
from lm_gym.agents.monitoring.classifier import Classifier
from lm_gym.agents.monitoring.journal import Journal
from lm_gym.agents.monitoring.monitor import Monitor
from lm_gym.agents.monitoring.stream import batches
from lm_gym.agents.runs.command_line import fail, show_warnings_plainly
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.trained_run import open_run
from lm_gym.bounds import PositiveFloat, PositiveInt, check_value
from lm_gym.naming import check_choice


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` are the command line's by default."""
    options, overrides = _parser().parse_known_args(arguments)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of reading checkpoints
    show_warnings_plainly()
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
            for batch in lines:
                results, rejected = monitor.take(batch)
                journal.commit(results, rejected, monitor.state())
        except KeyboardInterrupt:
            pass  # the journal stands
    counted = ", ".join(f"{monitor.counts[name]:,} {name}" for name in ("texts", "alerts", "rejected", "duplicates"))
    sys.stderr.write(f"{monitor.line:,} lines: {counted}\n")


def _monitor(options: Namespace, overrides: Sequence[str], rule: Rule, held: ExitStack) -> Monitor:
    run = open_run(options.run_dir, [*overrides, "--evaluation.num_envs=1"])
    if run.settings.threads is not None:
        th.set_num_threads(run.settings.threads)
    classifier = Classifier(*run.player("validation"))
    for label in options.label:
        check_choice("--label", label, classifier.labels)
    scalar = None
    if options.tensorboard is not None:
        writer = SummaryWriter(str(options.tensorboard))  # type: ignore[no-untyped-call]
        held.callback(writer.close)
        scalar = writer.add_scalar
    return Monitor(classifier, rule, options.label or classifier.labels, options.by, scalar)


def _beside(output: Path | None) -> Path:
    return Path("rejected.txt") if output is None else output.with_name(f"{output.name}.rejected")


def _opened(name: str) -> IO[bytes]:
    return sys.stdin.buffer if name == "-" else Path(name).open("rb")


def _seek(stream: IO[bytes], name: str, offset: int) -> None:
    """Go to the byte of a file that comes next."""
    size = stream.seek(0, 2)
    if size < offset:
        raise ValueError(f"{name} has {size} bytes, and {offset} were read of it: give the file that the state is of")
    stream.seek(offset)


def _without(lines: Iterator[list[bytes]], count: int) -> Iterator[list[bytes]]:
    """Batches without the first `count` lines, which were read before."""
    for batch in lines:
        left = list(islice(batch, count, None))
        count -= len(batch) - len(left)
        if left:
            yield left


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=program("monitor"),
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run_dir", type=Path, help="the run folder of a text classifier")
    parser.add_argument("--input", required=True, metavar="FILE|-", help="where lines come from; - is standard input")
    parser.add_argument("--follow", action="store_true", help="at the end of the file, wait for more")
    parser.add_argument("--by", metavar="KEY", help="the key of a line that holds its topic; by default all are one")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where results go; by default standard output")
    parser.add_argument("--rejected", type=Path, metavar="FILE", help="unreadable lines; by default OUTPUT.rejected")
    parser.add_argument("--state", type=Path, metavar="FILE", help="what a killed monitor goes on from")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="shares by topic and label, for TensorBoard")
    parser.add_argument("--batch", type=int, default=256, help="most texts in a forward pass")
    parser.add_argument("--max_delay", type=float, default=0.2, help="seconds that a line waits for a full batch")
    parser.add_argument("--label", action="append", default=[], help="watch its share; may be repeated; by default all")
    rule = Rule()
    parser.add_argument(
        "--baseline", type=int, default=rule.baseline, help="first texts of a topic, whose share is normal"
    )
    parser.add_argument("--window", type=int, default=rule.window, help="texts that are compared with them")
    parser.add_argument("--step", type=int, default=rule.step, help="texts of a topic between two tests")
    parser.add_argument(
        "--false_alarms", type=float, default=rule.false_alarms, help=f"expected in {PER:,} texts, at most"
    )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
