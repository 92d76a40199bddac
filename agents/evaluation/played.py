"""One text with a policy's decisions: its parts, gold choices, predictions, rewards and most probable choices."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lm_gym.agents.evaluation.playing import decided, position_rewards, read
from lm_gym.agents.evaluation.stepping import play_steps
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.envs import TextVectorEnv
from lm_gym.rendering import render_text
from lm_gym.tasks import Batch, DecidedText, Mark, Part, Prediction, Task

TOP = 5


class Choice(NamedTuple):
    """A choice and its probability, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class PlayedPosition:
    """One position.

    Attributes:
        gold: name of the gold choice.
        predicted: name of the most probable choice.
        right: whether they are equal (different tokens can have equal names).
        quiet: whether the gold choice needs no display, such as O.
        gold_mark, predicted_mark: marks that display the choices.
        reward: reward of the predicted choice.
        top: the `TOP` most probable choices, most probable first.
        step: the step that decided it, from 1; 0 if texts are decided at once, or if it is still open.
    """

    gold: str
    predicted: str
    right: bool
    quiet: bool
    gold_mark: Mark
    predicted_mark: Mark
    reward: float
    top: tuple[Choice, ...]
    step: int = 0


class PlayedPart(NamedTuple):
    """A part of a text, and the position decided there, or None."""

    part: Part
    position: PlayedPosition | None


@dataclass(frozen=True)
class PlayedText:
    """A decided text.

    Attributes:
        index: index of the text in its split.
        parts: its parts, in order.
        rendered: the environment's rendering, with ANSI colours.
        task: class of the task.
        states: the rendering after each step of a text that takes several; empty for others.
    """

    index: int
    parts: tuple[PlayedPart, ...]
    rendered: str
    task: type[Task]
    states: tuple[str, ...] = ()

    @cached_property
    def positions(self) -> list[PlayedPosition]:
        """All positions, in order."""
        return [position for _, position in self.parts if position is not None]

    @property
    def reward(self) -> float:
        """The reward of the whole text."""
        return sum(position.reward for position in self.positions)

    @property
    def num_right(self) -> int:
        """Number of correct positions."""
        return sum(position.right for position in self.positions)

    @property
    def flawless(self) -> bool:
        """Whether every position is correct."""
        return self.num_right == len(self.positions)


def play_text(policy: LMPolicy, env: TextVectorEnv, index: int) -> PlayedText:
    """Decide one text with the most probable choice at each position.

    Args:
        policy: the policy; set to evaluation mode.
        env: an environment with one row and `unit="sequence"`; it is reset.
        index: index of the text in the environment's split.
    """
    task = env.task
    obs, _ = env.reset(options={"indices": [index]})
    states: list[str] = []
    first: dict[int, tuple[list[int], list[float]]] = {}  # choices and probabilities, when a position was last due

    def predict(batch: Batch) -> Prediction:
        packed = read(policy, batch.observation)
        log_probs, choices = packed.of_tokens().topk(min(TOP, task.shape.choices))
        top = zip(choices.tolist(), log_probs.exp().tolist(), strict=True)
        first.update(zip(packed.slots.tolist(), top, strict=True))
        return decided(packed, batch, task)

    if env.at_once:
        said = predict(Batch(obs, env.text_index, env.targets, env.episodes.uniforms))
        when = np.zeros(said.choices.shape[1], np.int64)
        rewards = position_rewards(env, said.choices, said.target_log_probs)[0]
    else:
        played = play_steps(predict, env, lambda: states.append(env.render_row(0)))
        said, rewards, when = played.prediction, played.position_rewards[0], played.when[0] + 1
    slots = sorted(first)
    text = DecidedText(index, obs["positions"][0, slots], env.targets[0, slots], said.choices[0, slots])
    gold_marks, predicted_marks = (task.marks(values.tolist()) for values in (text.targets, text.choices))
    positions = [
        PlayedPosition(
            gold=task.choice_name(int(text.targets[k])),
            predicted=task.choice_name(int(text.choices[k])),
            right=bool(text.targets[k] == text.choices[k]),
            quiet=bool(text.targets[k] == task.quiet),
            gold_mark=gold_marks[k],
            predicted_mark=predicted_marks[k],
            reward=float(rewards[slots[k]]),
            top=tuple(Choice(task.choice_name(c), p) for c, p in zip(*first[slot], strict=True)),
            step=int(when[slot]),
        )
        for k, slot in enumerate(slots)
    ]
    parts = (PlayedPart(part, None if part.slot is None else positions[part.slot]) for part in task.parts(text))
    return PlayedText(index, tuple(parts), render_text(task, text), type(task), tuple(states))
