"""One text as a policy decides it: what stands where, gold, prediction, reward and the policy's first choices."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm_gym.agents.evaluation.playing import most_probable, position_rewards, read
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.envs import TextVectorEnv
from lm_gym.rendering import render_text, spell_around
from lm_gym.tasks import Task

TOP = 5


class Choice(NamedTuple):
    """A choice and its probability, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class Decision:
    """One position.

    Attributes:
        gold: the right choice, a tag or a token.
        predicted: the most probable one.
        right: whether they are the same (of tokens, names alone don't tell).
        reward: what the environment pays for it.
        top: the policy's first `TOP` choices, most probable first.
    """

    gold: str
    predicted: str
    right: bool
    reward: float
    top: tuple[Choice, ...]


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: its characters; of a masked token, the gold ones.
        spaced: whether a space stands before it.
        decision: of the position here, None where there is nothing to decide.
    """

    text: str
    spaced: bool
    decision: Decision | None


@dataclass(frozen=True)
class PlayedText:
    """A text, decided.

    Attributes:
        index: of the text in its split.
        pieces: words (NER), or masked tokens and what stands between them (masked LM), in order.
        rendered: the environment's rendering, in ANSI colours.
        tagging: whether words were tagged, and not masked tokens filled in.
    """

    index: int
    pieces: tuple[Piece, ...]
    rendered: str
    tagging: bool

    @cached_property
    def decisions(self) -> list[Decision]:
        """Of all positions, in order."""
        return [piece.decision for piece in self.pieces if piece.decision is not None]

    @property
    def reward(self) -> float:
        """Of the whole text."""
        return sum(decision.reward for decision in self.decisions)

    @property
    def num_right(self) -> int:
        """Positions decided as gold has them."""
        return sum(decision.right for decision in self.decisions)

    @property
    def flawless(self) -> bool:
        """Whether every position is right."""
        return self.num_right == len(self.decisions)


def play_text(policy: LMPolicy, env: TextVectorEnv, index: int) -> PlayedText:
    """Decides one text with the most probable choice at each position.

    Args:
        policy: put into evaluation mode.
        env: with one row, `unit="sequence"`; it is left reset.
        index: of the text in the environment's split.
    """
    obs, _ = env.reset(options={"indices": [index]})
    packed = read(policy, obs)
    said = most_probable(packed, env)
    rewards = position_rewards(env, said.choices, said.target_log_probs)[0]
    log_probs, choices = packed.log_probs.topk(min(TOP, packed.log_probs.shape[1]))
    decisions = [
        Decision(
            gold=_name(env.task, int(env.targets[0, slot])),
            predicted=_name(env.task, int(said.choices[0, slot])),
            right=bool(env.targets[0, slot] == said.choices[0, slot]),
            reward=float(rewards[slot]),
            top=tuple(Choice(_name(env.task, c), p) for c, p in zip(ids, probabilities, strict=True)),
        )
        for slot, ids, probabilities in zip(
            packed.slots.tolist(), choices.tolist(), log_probs.exp().tolist(), strict=True
        )
    ]
    leaves = {name: leaf[0] for name, leaf in (obs | {"predictions": said.choices}).items()}
    tagging = env.task.choice_names is not None
    pieces = _words(env, index, decisions) if tagging else _tokens(env.task, leaves, env.targets[0], decisions)
    return PlayedText(index, tuple(pieces), render_text(env.task, leaves, env.targets[0]), tagging)


def _name(task: Task, choice: int) -> str:
    return task.tokenizer.decode([choice]).strip() if task.choice_names is None else task.choice_names[choice]


def _words(env: TextVectorEnv, index: int, decisions: list[Decision]) -> Iterator[Piece]:
    """The words of a tagged text; those that `max_length` cut off have no decision."""
    words = env.dataset[env.split].text(index)
    undecided = [None] * (len(words) - len(decisions))
    for word, decision in zip(words, [*decisions, *undecided], strict=True):
        yield Piece(word, True, decision)


def _tokens(
    task: Task, leaves: dict[str, NDArray[Any]], targets: NDArray[np.int64], decisions: list[Decision]
) -> Iterator[Piece]:
    """The masked tokens of a text, and what stands between them."""
    places = leaves["positions"][leaves["position_mask"] > 0].tolist()
    ids = leaves["input_ids"][: int(leaves["attention_mask"].sum())].copy()
    ids[places] = targets[: len(places)]
    for spaced, text, slot in spell_around(task.tokenizer, ids.tolist(), places):
        yield Piece(text, spaced, None if slot is None else decisions[slot])
