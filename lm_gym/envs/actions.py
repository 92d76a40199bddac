"""The actions of a vector environment as checked decisions about its current texts."""

from typing import Any

import numpy as np
from gymnasium import Space
from numpy.typing import NDArray

from lm_gym.envs.arguments import EnvArguments
from lm_gym.envs.decisions import Chooser, Decisions, read_choices, read_distributions, read_log_probs
from lm_gym.envs.episodes import Episodes
from lm_gym.tasks import Task

_NEVER = -1e30  # a log-probability that is finite


class ActionReader:
    """Reads actions in the form that the environment's arguments ask for.

    Args:
        settings: the arguments.
        task: the task.
        episodes: the current texts.
        space: the action space of all rows.
        at_once: whether one step decides all of a text.
    """

    def __init__(
        self, settings: EnvArguments, task: Task, episodes: Episodes, space: Space[Any], at_once: bool
    ) -> None:
        self._task, self._episodes = task, episodes
        self._by_text = settings.unit == "sequence"
        self._choices = settings.actions == "token"
        self._ndim = len(space.shape or ())
        self._space, self._at_once = space, at_once

    def of_step(self, actions: Any, live: NDArray[np.bool_] | None) -> Decisions:
        """Check the actions of a step of the rows `live`, bool [N]; None for all."""
        if np.ndim(actions) != self._ndim:  # only `of_texts` accepts samples
            raise ValueError(f"actions have shape {np.shape(actions)}: it must be {self._space.shape}")
        if self._by_text:
            return self.of_texts(actions, live) if self._at_once else self._due(actions, live)
        shape, choices = (len(self._episodes.counts),), self._task.shape.choices
        if self._choices:
            return read_choices(actions, shape, choices, live)
        uniforms = self._episodes.uniforms_at_cursor
        return read_distributions(
            actions, shape, choices, self._episodes.targets_at_cursor, live, self._chooser(uniforms)
        )

    def of_texts(self, actions: Any, live: NDArray[np.bool_] | None = None) -> Decisions:
        """Check actions for all positions, [..., N, T]."""
        asked, targets = self._asked("position_mask", live), self._episodes.targets
        if self._choices:
            return read_choices(actions, targets.shape, self._task.shape.choices, asked)
        chooser = self._chooser(self._episodes.uniforms)
        return read_distributions(actions, targets.shape, self._task.shape.choices, targets, asked, chooser)

    def compact(self, choices: Any, target_log_probs: Any) -> Decisions:
        """Check distributions given by the most probable choice and the log-probability of the gold choice."""
        if self._choices:
            raise ValueError(
                "target_log_probs are for actions='distribution'; here actions are choices: leave them out"
            )
        asked = self._asked("position_mask", None)
        read = read_choices(choices, asked.shape, self._task.shape.choices, asked)
        return Decisions(read.choices, read_log_probs(target_log_probs, read.choices.shape, asked))

    def _due(self, actions: Any, live: NDArray[np.bool_] | None) -> Decisions:
        """Check the actions of a step that decides some positions; those at others are ignored."""
        asked, targets = self._asked("due", live), self._episodes.targets
        choices = self._task.shape.choices + self._task.may_wait
        if self._choices:
            return read_choices(actions, targets.shape, choices, asked)
        chooser = self._chooser(self._episodes.uniforms)
        if self._task.may_wait:
            actions = self._filling(np.asarray(actions))
        return read_distributions(actions, targets.shape, choices, targets, asked, chooser)

    def _filling(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Exclude the choice to wait from the distributions of texts whose last step this is."""
        last = self._episodes.is_last
        if not last.any() or actions.dtype.kind not in "fiu" or len(actions) != len(last):
            return actions  # as they are, or to be refused
        actions = actions.astype(np.float64)
        actions[last, ..., -1] = _NEVER
        return actions

    def _chooser(self, uniforms: NDArray[np.float64] | None) -> Chooser:
        return Chooser(self._task.choose, self._task.score, uniforms, exact=self._task.needs_distributions)

    def _asked(self, mask: str, live: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        asked: NDArray[np.bool_] = self._episodes.observation[mask] > 0
        return asked if live is None else asked & live[:, None]
