"""N rows of texts, and what may be asked about them: rewards of actions, choices that make sense, a display."""

from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lm_gym.data import Dataset
from lm_gym.envs.actions import ActionReader
from lm_gym.envs.arguments import EnvArguments
from lm_gym.envs.decisions import Decisions
from lm_gym.envs.episodes import Episodes
from lm_gym.envs.making import make_task, reward_of
from lm_gym.envs.sampler import FIXED_KEY
from lm_gym.envs.spaces import Observation, action_space, observation_space
from lm_gym.rendering import render_text
from lm_gym.rewards import ChoiceRewards
from lm_gym.tasks import Cut, Task, load_data


class TextRows(VectorEnv[Observation, Any, NDArray[Any]]):
    """N texts of a split, one per row, without their steps (see `TextVectorEnv`, also for the attributes).

    Args:
        num_envs: N.
        settings: the arguments of every environment.
        options: the task's own arguments.
    """

    task_class: ClassVar[type[Task]]
    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": ["ansi"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(self, num_envs: int, settings: EnvArguments, options: Any) -> None:
        self.num_envs, self.settings = num_envs, settings
        self.render_mode = settings.render_mode
        overlap = {} if settings.split == "train" else {"max_overlap": 1.0}  # refused for training only
        self.dataset: Dataset = load_data(self.task_class, settings.dataset, **overlap)
        self.split = settings.split
        self.task = make_task(self.task_class, self.dataset, settings, options)
        self.reward = reward_of(settings, self.task)
        self.single_observation_space = observation_space(self.task, settings)
        self.single_action_space = action_space(self.task, settings)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        distributions = settings.actions == "distribution"
        self.episodes = Episodes(
            self.task, self.reward, num_envs, self.single_observation_space, distributions=distributions
        )
        self._actions = ActionReader(settings, self.task, self.episodes, self.action_space, self.at_once)
        self._playing = False  # True after the first reset

    @property
    def num_texts(self) -> int:
        """Number of texts in the split."""
        return self.task.encoded.num_texts

    @property
    def positions_per_pass(self) -> int:
        """Number of positions in one pass over the split."""
        return self.task.encoded.num_positions

    @property
    def cut(self) -> Cut:
        """Texts and positions removed by `max_length`."""
        return self.task.encoded.cut

    @property
    def targets(self) -> NDArray[np.int64]:
        """Gold choices of the current texts, int64 [N, T]; n where padded."""
        return self.episodes.targets.copy()

    @property
    def text_index(self) -> NDArray[np.int64]:
        """Index of the text of each row, int64 [N]."""
        return self.episodes.text_index.copy()

    @property
    def at_once(self) -> bool:
        """Whether one step decides all of a text (`unit="sequence"`, unless the task takes several steps)."""
        return self.settings.unit == "sequence" and not self.task.in_steps

    def position_rewards(self, actions: Any, target_log_probs: Any = None) -> NDArray[np.float32]:
        """Return the rewards of actions in the current texts, without taking the actions.

        Args:
            actions: [..., N, T] integers, or [..., N, T, n] unnormalised log-probabilities; padded places are ignored.
            target_log_probs: [..., N, T], only if actions are distributions. A reward depends only on the most probable
                choice and the log-probability of the gold choice; pass the choices as `actions` and these
                log-probabilities to avoid n numbers per position.

        Returns:
            float32 [..., N, T]; 0 where padded.

        Raises:
            ValueError: as for `step`; or `target_log_probs` is given although actions are choices, or holds a value
                above 0, NaN or infinite.
        """
        given = self._read(actions, target_log_probs)
        return self.episodes.track.score(given.choices, given.log_probs)

    def choice_rewards(self) -> ChoiceRewards:
        """Return the reward of every choice at every position of the current texts, without taking any.

        Raises:
            ResetNeeded: before the first reset.
            ValueError: the reward is not `enumerable`: use `position_rewards` for given choices.
        """
        self._require_reset()
        return self.episodes.track.choice_rewards()

    def reward_terms(self, actions: Any, target_log_probs: Any = None) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted rewards of actions by the name of each term of the reward.

        Arguments and shapes are those of `position_rewards`; `dense` has no effect.
        """
        given = self._read(actions, target_log_probs)
        return self.episodes.track.terms(given.choices, given.log_probs)

    def position_counts(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of positions of texts that are chosen by `indices`, int64 [R] → int64 [R]."""
        return self.task.draw_counts(texts, np.zeros(len(texts), np.int64), FIXED_KEY)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return a mask of the actions that make sense; the environment accepts the others, too.

        Returns:
            bool [N, n]. With `unit="sequence"`, [N, T · n], position by position: the choices that make sense
            regardless of the other positions (n + 1 each if positions may be left open).
        """
        if self.settings.unit == "sequence":
            legal = self.episodes.always_legal()
            if self.task.may_wait:
                legal = np.append(legal, np.ones((self.num_envs, 1), np.bool_), axis=1)
            return np.tile(legal, self.task.shape.positions)
        return self.episodes.legal()

    def render(self) -> tuple[str, ...] | None:
        """Return the texts with their decisions in ANSI colours, or None without `render_mode="ansi"`."""
        if self.render_mode is None:
            return None
        return tuple(self.render_row(row) for row in range(self.num_envs))

    def render_row(self, row: int) -> str:
        """Return one text with its decisions in ANSI colours."""
        return render_text(self.task, self.episodes.decided_text(row))

    def _read(self, actions: Any, target_log_probs: Any) -> Decisions:
        """Check actions for all positions, outside a step."""
        self._require_reset()
        if target_log_probs is None:
            return self._actions.of_texts(actions)
        return self._actions.compact(actions, target_log_probs)

    def _require_reset(self) -> None:
        """Raise ResetNeeded before the first reset."""
        if not self._playing:
            raise ResetNeeded("no text is played: call reset() first")

    def _copy(self) -> Observation:
        return {key: leaf.copy() for key, leaf in self.episodes.observation.items()}
