"""Step through texts and the decisions of a trained model.

Shows the words of each text, gold choices, predictions, the reward of each position, and the policy's most probable
choices. In a terminal it waits for a key after each text, without Enter; otherwise it prints the first few texts and
exits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lm_gym.agents.files import refuse_folder, write_text
from lm_gym.agents.runs.keys import pressed_keys
from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.pipes import in_terminal
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.run_parser import RunParser, read_options, run_parser, say_loading
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.bounds import PositiveInt, check_value
from lm_gym.envs import TextVectorEnv
from lm_gym.registry import own_name

if TYPE_CHECKING:
    from lm_gym.agents.evaluation.played import PlayedPosition, PlayedText

KEYS = "Enter or →: next, p or ←: previous, e: next with an error, a number and Enter: that text, q: quit"
_PRINTED, _ON_A_PAGE = 5, 100  # default numbers of texts
_QUIT = -1
Player = Callable[[int], "PlayedText"]
Ask = Callable[[str], str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    options, overrides = read_options(_parser(), arguments)
    show_warnings_plainly()
    waiting = in_terminal() and options.html is None
    say_loading(options.run_dir, results=False)
    from lm_gym.agents.evaluation.page import Facts, page  # loads the model libraries
    from lm_gym.agents.evaluation.played import play_text
    from lm_gym.agents.runs.trained_run import open_run

    try:
        check_value("--texts", options.texts, PositiveInt | None)
        refuse_folder(options.html)
        run = open_run(options.run_dir, [*overrides, "--evaluation.num_envs=1"])
        policy, env = run.player(options.split, options.checkpoint)
        few = _PRINTED if options.html is None else _ON_A_PAGE
        total = min(env.num_texts, options.texts or (env.num_texts if waiting else few))
        console = Terminal()
        if options.html is not None:
            facts = Facts(str(run.folder.path), own_name(run.settings.algo), env.dataset.name, env.split, env.num_texts)
            options.html.parent.mkdir(parents=True, exist_ok=True)
            write_text(options.html, page(facts, [play_text(policy, env, text) for text in range(total)]))
            console.print(f"{total:,} {'text' if total == 1 else 'texts'}: {options.html}", soft_wrap=True)
            return
    except (ValueError, OSError, RunFolderError) as error:
        fail(program("play"), error)

    def player(text: int) -> PlayedText:
        return play_text(policy, env, text)

    if waiting:
        step_through(console, env, player, total)
    else:
        for text in range(total):
            show(console, env, player(text))


def step_through(console: Terminal, env: TextVectorEnv, player: Player, total: int) -> None:
    """Show the first text, and then the texts that the user asks for."""
    at: int = 0
    with pressed_keys(sys.stdin) as ask:
        while at != _QUIT:
            show(console, env, player(at))
            at = _next(console, ask, player, at, total)


def _next(console: Terminal, ask: Ask, player: Player, at: int, total: int) -> int:
    """Ask the user for the text to show next until the answer is valid; return it or _QUIT."""
    while True:
        try:
            key = ask(f"[{KEYS}] ")
        except (EOFError, KeyboardInterrupt):
            console.print()
            return _QUIT
        if key == "e":
            wrong = next((text for text in range(at + 1, total) if not player(text).flawless), None)
            if wrong is not None:
                return wrong
            console.print(f"no text after number {at + 1} has an error")
            continue
        try:
            return next_text(key, at, total)
        except ValueError as error:
            console.print(str(error))


def next_text(key: str, at: int, total: int) -> int:
    """Return the index of the text that a key leads to from text `at`, or -1 to quit.

    Raises:
        ValueError: the key has no meaning, or no such text exists.
    """
    if key in ("q", "quit"):
        return _QUIT
    if key == "":
        return at + 1 if at + 1 < total else _QUIT
    if key == "p":
        if at == 0:
            raise ValueError("this is the first text")
        return at - 1
    if not key.isdecimal():
        raise ValueError(f"unknown key {key!r}: {KEYS}")
    if not 1 <= int(key) <= total:
        raise ValueError(f"no text {key}: give a number from 1 to {total}")
    return int(key) - 1


def show(console: Terminal, env: TextVectorEnv, played: PlayedText) -> None:
    """Print a text and its decisions."""
    title = f"{env.dataset.name}, {env.split}, text {played.index + 1:,} of {env.num_texts:,}"
    console.rule(Text(title, "bold"), align="left", style="dim")
    for number, state in enumerate(played.states, 1):  # the last one is the text as it is rendered
        console.print(Text.assemble((f"{number:>3} ", "dim"), Text.from_ansi(state)))
    if not played.states:
        console.print(Text.from_ansi(played.rendered))
    console.print(_table(played))
    count = len(played.positions)
    paid = f"reward {played.reward:.2f} ({env.reward.name}), {played.num_right} of {count} right"
    console.print(f"{paid}\n")


def _table(played: PlayedText) -> Table:
    task = played.task
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    table.add_column("", width=1)
    table.add_column(task.nouns.position, no_wrap=True)
    if not task.choice_is_text:
        table.add_column("gold", no_wrap=True)
    table.add_column("predicted", no_wrap=True)
    table.add_column("reward", justify="right", no_wrap=True)
    table.add_column("first choices", no_wrap=True, ratio=1)  # the rest of the line
    for part, position in played.parts:
        if position is None:
            continue
        gold = [position.gold] if task.choice_is_text else [part.text, position.gold]
        style = "bold red" if not position.right else "dim" if position.quiet else "green"
        cells = [Text(cell, style) for cell in ("" if position.right else "✗", *gold, position.predicted)]
        table.add_row(*cells, f"{position.reward:.2f}", _choices(position))
    return table


def _choices(position: PlayedPosition) -> Text:
    """Return the choices with a probability of at least 0.01, or the first one; the gold choice is underlined."""
    line = Text()
    for place, (name, probability) in enumerate(position.top):
        if place and probability < 0.01:
            break
        style = "underline" if name == position.gold else ""
        line.append("  " if place else "").append(name, style).append(f" {probability:.2f}", "dim")
    return line


def _parser() -> RunParser:
    parser = run_parser(program("play"), __doc__, "validation", KEYS)
    parser.add_argument(
        "--texts",
        type=int,
        help=f"number of texts; by default all in a terminal, {_PRINTED} otherwise, {_ON_A_PAGE} with --html",
    )
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        default="best",
        help="play the best model or the last checkpoint; by default %(default)s",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page of coloured texts, and exit")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
