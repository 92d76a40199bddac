"""Answer messages from a bank of replies with a trained model: type a message, and see the best replies.

BM25 looks up the replies of the bank that share most words with the message, and the model ranks them by its
probabilities. A model with head=similarity ranks the whole bank, without BM25. With --input, a file of messages is
answered: a message a line, or JSON objects with a message and, optionally, the turns before it. The output then has a
JSON line for each message.
"""

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from transformers.utils.logging import disable_progress_bar

from lm_gym.agents.evaluation.playing import read
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.towers import SCALE
from lm_gym.agents.runs.assembly import make_env, make_policy
from lm_gym.agents.runs.messages import fail, show_warnings_plainly
from lm_gym.agents.runs.program import program
from lm_gym.agents.runs.run_folder import RunFolderError
from lm_gym.agents.runs.terminal import Terminal
from lm_gym.agents.runs.trained_run import TrainedRun, open_run
from lm_gym.bounds import PositiveInt, check_value
from lm_gym.data.fields import CANDIDATES
from lm_gym.envs import TextVectorEnv, find_task
from lm_gym.tasks import load_data
from lm_gym.tasks.bm25 import BM25
from lm_gym.tasks.reply_bank import read_bank

_CHUNK = 128  # replies of a bank embedded at a time

Ranking = list[tuple[str | None, float]]
"""Replies with their probabilities, best first; None is to give no reply."""


@dataclass(frozen=True)
class Message:
    """A message and the turns before it, oldest first."""

    text: str
    turns: tuple[str, ...] = ()


class OneMessage:
    """Environments whose only text is a message with some replies.

    Args:
        run: the run whose model reads it.

    Raises:
        ValueError: the task of the run has no candidates.
    """

    def __init__(self, run: TrainedRun) -> None:
        self._run, self._task = run, find_task(run.settings.env.id)
        if CANDIDATES.name not in {field.name for field in self._task.fields}:
            raise ValueError(f"{self._task.env_id} does not choose replies: give a run of response selection")
        self._policy: LMPolicy | None = None

    def env(self, message: Message, replies: Sequence[str]) -> TextVectorEnv:
        """Return the environment.

        Raises:
            ValueError: the message has no words, or the replies do not fit in `max_length`.
        """
        record = {"turns": list(message.turns), "message": message.text, "candidates": [*replies], "answer": 0}
        settings = self._run.settings
        env: Any = replace(settings.env, bank=None)  # type: ignore[call-arg]  # an option of the task
        alone = replace(settings, env=env, evaluation=replace(settings.evaluation, num_envs=1))
        return make_env(alone, load_data(self._task, [record]), "train", str(self._run.folder.best))

    def policy(self, env: TextVectorEnv) -> LMPolicy:
        """Return the policy, which is made for the first of the environments; none may have more choices."""
        self._policy = self._policy or make_policy(self._run.settings, env, str(self._run.folder.best))
        return self._policy


class Ranker:
    """Rank the replies that BM25 looks up for a message, by reading them with it.

    Args:
        texts: the messages.
        bank: distinct replies, as words.
        k: number of replies that BM25 looks up.
    """

    def __init__(self, texts: OneMessage, bank: Sequence[Sequence[str]], k: int) -> None:
        self._texts, self._bank, self._k = texts, bank, min(k, len(bank))
        self._index = BM25(bank)

    def __call__(self, message: Message) -> Ranking:
        """Return the replies for a message.

        Raises:
            ValueError: the message has no words, or the replies do not fit in `max_length`.
        """
        words = [word for text in (*message.turns, message.text) for word in text.split()]
        found = self._index.best([words], self._k)[0]
        replies = [" ".join(self._bank[number]) for number in found.tolist()]
        env = self._texts.env(message, replies)
        log_probs = read(self._texts.policy(env), _only_text(env)).log_probs[0]
        return _ranking(env, replies, log_probs)


class BankRanker:
    """Rank all replies of a bank by their embeddings, which are computed once.

    Args:
        texts: the messages.
        bank: distinct replies, as words.

    Raises:
        ValueError: a reply does not fit in `max_length`.
    """

    def __init__(self, texts: OneMessage, bank: Sequence[Sequence[str]]) -> None:
        self._texts, self._replies = texts, [" ".join(words) for words in bank]
        chunks = [self._replies[start : start + _CHUNK] for start in range(0, len(bank), _CHUNK)]
        self._table = th.cat([self._embedded(Message(chunk[0]), chunk)[1][-len(chunk) :] for chunk in chunks])

    def __call__(self, message: Message) -> Ranking:
        """Return all replies for a message.

        Raises:
            ValueError: the message has no words.
        """
        env, made = self._embedded(message, self._replies[:1])
        table = self._table if env.task.abstention is None else th.cat([made[1:2], self._table])
        return _ranking(env, self._replies, (SCALE * (table @ made[0])).log_softmax(0))

    def _embedded(self, message: Message, replies: Sequence[str]) -> tuple[TextVectorEnv, th.Tensor]:
        """Return the embeddings of a message, of abstaining if that is a choice, and of some replies, [*, D]."""
        env = self._texts.env(message, replies)
        made = self._texts.policy(env).embeddings(_only_text(env))[0]
        return env, made[: 1 + (env.task.abstention is not None) + len(replies)]


def make_ranker(run: TrainedRun, bank: Sequence[Sequence[str]], k: int | None) -> Ranker | BankRanker:
    """Return the ranker that suits the model of a run.

    Args:
        run: the run.
        bank: distinct replies, as words.
        k: number of replies that BM25 looks up; None for 5.

    Raises:
        ValueError: the task of the run has no candidates, or the model ranks the whole bank and k is given.
    """
    texts = OneMessage(run)
    apart = texts.env(Message("?"), ["?"]).task.head == "similarity"
    if apart and k is not None:
        raise ValueError(f"--k {k}: the model of {run.folder.path} ranks the whole bank: leave it out")
    return BankRanker(texts, bank) if apart else Ranker(texts, bank, k or 5)


def _only_text(env: TextVectorEnv) -> dict[str, Any]:
    return env.reset(options={"indices": np.zeros(env.num_envs, np.int64)})[0]


def _ranking(env: TextVectorEnv, replies: Sequence[str], log_probs: th.Tensor) -> Ranking:
    """Return replies, and abstaining if that is a choice, by their probability."""
    named: list[str | None] = [*replies]
    if env.task.abstention is not None:
        named.insert(env.task.abstention, None)
    return sorted(zip(named, log_probs.exp().tolist(), strict=True), key=lambda entry: -entry[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    options, overrides = _parser().parse_known_args(arguments)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    show_warnings_plainly()
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
                print(_line(message, rank(message)[: options.top]), flush=True)
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
        ValueError: a line that begins with a brace is no JSON object with a message.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("{"):
            yield _message(line, f"{path}, line {number}")
        elif line.strip():
            yield Message(line.strip())


def _message(line: str, place: str) -> Message:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: bad JSON ({error})") from None
    text, turns = record.get("message"), record.get("turns", [])
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: no 'message': give a string with words")
    if not isinstance(turns, list) or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise ValueError(f"{place}: 'turns' is {turns!r}: give a list of strings with words")
    return Message(text, tuple(turns))


def _line(message: Message, ranking: Ranking) -> str:
    replies = [{"reply": reply, "probability": round(probability, 4)} for reply, probability in ranking]
    return json.dumps({"message": message.text, "replies": replies}, ensure_ascii=False)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=program("reply"), description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run_dir", type=Path, help="the run folder of response selection")
    parser.add_argument("--bank", required=True, metavar="FILE", help="file of replies, one per line or JSON object")
    parser.add_argument("--input", metavar="FILE", help="file of messages; by default you type them")
    parser.add_argument("--k", type=int, help="number of replies that BM25 looks up for the model (5)")
    parser.add_argument("--top", type=int, default=3, help="number of replies to show")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
