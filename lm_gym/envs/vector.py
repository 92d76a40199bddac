"""The native `gymnasium.vector.VectorEnv`, which plays many texts at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lm_gym.bounds import PositiveInt, bounded
from lm_gym.data import Dataset
from lm_gym.envs.actions import ActionReader
from lm_gym.envs.arguments import read_arguments
from lm_gym.envs.classes import remade
from lm_gym.envs.decisions import Decisions
from lm_gym.envs.episodes import Episodes, Observation
from lm_gym.envs.infos import begun_info, decided_info, final_info, paid_info
from lm_gym.envs.making import make_task, reward_of
from lm_gym.envs.options import ResetOptions, read_options
from lm_gym.envs.sampler import Sampler
from lm_gym.envs.spaces import action_space, observation_space
from lm_gym.envs.state import restore_episodes, save_episodes
from lm_gym.naming import check_choice
from lm_gym.rendering import render_text
from lm_gym.rewards import ChoiceRewards, Step
from lm_gym.tasks import Cut, Prediction, Task, load_data

_FIXED_KEY = 0x5EED  # key of the masks of texts played by `indices`, independent of the seed
_MODES = {mode.value: mode for mode in AutoresetMode} | {mode.name: mode for mode in AutoresetMode}


StepResult = tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


@bounded
class TextVectorEnv(VectorEnv[Observation, Any, NDArray[Any]]):
    """Base class of the vector environments, which play N texts at once (`lm_gym.envs.environment_class`).

    Args:
        num_envs: N.
        autoreset_mode: how rows start a new text after the end of an episode (an `AutoresetMode`, its name or value).
            `NEXT_STEP`: in the next step, whose action is ignored. `SAME_STEP`: in the same step, with the last
            observation in `info["final_obs"]`. `DISABLED`: by `reset(options={"reset_mask": ended})`.
        group_size: G, the number of rows that play the same text, a divisor of N. Rows k·G … k·G + G - 1 share one
            visit of a text (and so its masks), start and end together, and count as one draw. In texts that
            take several steps, a row that finishes first has nothing to decide until the others have finished.
        arguments: see `lm_gym.envs.arguments.EnvArguments`, and the manual of the task's environment.

    Attributes:
        dataset: the data.
        split: the name of the split.
        task: the task, with the encoded split (`lm_gym.tasks.Task`).
        reward: the reward (`lm_gym.rewards.Reward`), with `minimum` and `separable`.
        num_texts: number of texts in the split.
        positions_per_pass: number of positions in one pass over the split.
        cut: texts and positions removed by `max_length`.
        targets: int64 [N, T], gold choices; n where padded.
        text_index: int64 [N], index of the text of each row.
        draws: number of texts drawn by the sampler so far, one per group; with the seed, this is its entire state.
    """

    task_class: ClassVar[type[Task]]
    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": ["ansi"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: PositiveInt = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        group_size: PositiveInt = 1,
        **arguments: Any,
    ) -> None:
        if num_envs % group_size:
            raise ValueError(f"group_size={group_size} does not divide num_envs={num_envs}: give a divisor of it")
        settings, options = read_arguments(arguments, self.task_class.Options)
        settings = replace(settings, mask_actions=settings.mask_actions or self.task_class.masked)
        self.settings = settings
        self.autoreset_mode = (
            autoreset_mode
            if isinstance(autoreset_mode, AutoresetMode)
            else _MODES[check_choice("autoreset_mode", autoreset_mode, _MODES)]
        )
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = settings.render_mode
        self.num_envs, self.group_size = num_envs, group_size
        overlap = {} if settings.split == "train" else {"max_overlap": 1.0}  # refused for training only
        self.dataset: Dataset = load_data(self.task_class, settings.dataset, **overlap)
        self.split = settings.split
        self.task = make_task(self.task_class, self.dataset, settings, options)
        self.reward = reward_of(settings, self.task)
        self.single_observation_space = observation_space(self.task, settings)
        self.single_action_space = action_space(self.task, settings)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.episodes = Episodes(
            self.task,
            self.reward,
            num_envs,
            cursor=settings.unit == "token",
            mask_actions=settings.mask_actions,
            distributions=settings.actions == "distribution",
        )
        self._actions = ActionReader(settings, self.task, self.episodes, self.action_space, self.at_once)
        self._sampler = Sampler(settings.sampling, np.diff(self.task.encoded.offsets), num_envs // group_size)
        self._key = 0
        self._keyed = False
        self._ended = np.zeros(num_envs, np.bool_)
        self._playing = False

    # Properties

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
    def draws(self) -> int:
        """Number of texts drawn by the sampler so far, one per group."""
        return self._sampler.draws

    @property
    def at_once(self) -> bool:
        """Whether one step decides all of a text (`unit="sequence"`, unless the task takes several steps)."""
        return self.settings.unit == "sequence" and not self.task.in_steps

    # State

    def get_state(self) -> dict[str, Any]:
        """Return the current state as a dict of arrays and numbers (copies) for `set_state`.

        Raises:
            ResetNeeded: before the first reset.
        """
        if not self._playing:
            raise ResetNeeded("no text is played: call reset() first")
        sampler = {"key": self._key, "draws": self._sampler.draws}
        return {**save_episodes(self.episodes), "ended": self._ended.copy(), **sampler}

    def set_state(self, state: Mapping[str, Any]) -> Observation:
        """Resume from a state saved by an identically configured environment.

        Returns:
            The current observation.

        Raises:
            ValueError: the state has another number of rows, or other texts.
        """
        restore_episodes(self.episodes, state)
        self._ended = np.array(state["ended"], np.bool_)
        self._key, self._keyed, self._playing = int(state["key"]), True, True
        self._sampler.restart(self._key, int(state["draws"]))
        return self._copy()

    # Playing

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new texts.

        Args:
            seed: restart the sampler at draw 0, with the order and masks of this seed. Of a sequence, which some
                wrappers pass, the first seed counts.
            options: `indices` int [N]: play these texts, with the masks of visit 0. `reset_mask` bool [N]: reset only
                these rows. Neither may split a group. `draws`: continue the sampler at this draw.

        Raises:
            ValueError: an option is unknown or out of range.
        """
        rows = self.begin(seed[0] if isinstance(seed, Sequence) else seed, options)
        return self._copy(), self._begun(rows, with_text=self.render_mode is not None)

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> NDArray[np.int64]:
        """Reset without a copy of the observation, and return the rows that start a text."""
        chosen = read_options(options, self.num_envs, self.num_texts, self.group_size)
        super().reset(seed=seed)
        if seed is not None or not self._keyed:
            self._key, self._keyed = int(self.np_random.integers(2**62)), True
            self._sampler.restart(self._key)
        if chosen.draws is not None:
            self._sampler.restart(self._key, chosen.draws)
        rows = chosen.rows
        if not self._playing and len(rows) < self.num_envs:
            raise ResetNeeded("the first reset must begin every row: call reset() without reset_mask")
        self._enter(rows, chosen)
        self._playing = True
        self._ended[rows] = False
        return rows

    def step(self, actions: Any) -> StepResult:
        """Decide one position of every row, or all positions (`unit`).

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or if autoreset is disabled and a row has ended.
            TypeError: the actions have a wrong type.
            ValueError: an action is out of range, NaN or infinite.
        """
        outcome = self.advance(actions)
        return (self._copy(), *outcome)

    def advance(
        self, actions: Any, rows: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step without a copy of the observation; return (rewards, terminated, truncated, info).

        Args:
            actions: as for `step`.
            rows: bool [N], the rows that play; only with autoreset disabled. The others must be reset before they play
                again; their actions are ignored and their rewards are 0. None for all rows.

        Raises:
            ValueError: `rows` is given although autoreset is enabled.
        """
        live = self._live(rows)
        decisions = self._actions.of_step(actions, live)
        info: dict[str, Any] = {}
        truncated = np.zeros(self.num_envs, np.bool_)
        several = len(self.reward.term_names) > 1
        steps = self.episodes.decided
        if self.settings.unit == "token":
            rewards, terminated = self.episodes.decide(decisions.choices, decisions.log_probs, live)
        elif self.at_once:
            paid = self.episodes.decide_all(decisions.choices, decisions.log_probs, live)
            rewards = paid.sum(-1, dtype=np.float64)
            terminated = np.ones(self.num_envs, np.bool_) if live is None else live.copy()
            if terminated.any():
                terms = self.episodes.track.terms(decisions.choices, decisions.log_probs) if several else {}
                info |= paid_info(paid, terms, terminated)
        else:
            step, moved = self.episodes.decide_some(decisions, live)
            paid = np.where(moved[:, None], self.episodes.track.pay_step(step), np.float32(0.0))
            rewards, steps = paid.sum(-1, dtype=np.float64) - self.episodes.cost(step, moved), self.episodes.steps
            together = self.episodes.finished.reshape(-1, self.group_size).all(1)  # groups end when their last row does
            terminated = np.repeat(together, self.group_size) & (True if live is None else live)
            if live is None or live.any():
                played = np.ones(self.num_envs, np.bool_) if live is None else live
                terms = self.episodes.track.step_terms(step) if several else {}
                info |= paid_info(paid, terms, played) | decided_info(step.decided.sum(-1), played)
        limit = self.settings.max_episode_steps
        if limit is not None and not self.at_once:
            truncated = (steps >= limit) & ~terminated & (True if live is None else live)
        ended = terminated | truncated
        if live is not None and self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._begin(np.flatnonzero(~live), info)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            over = np.flatnonzero(ended)
            info |= final_info(self.episodes.observe(over), info, ended)
            self._begin(over, info)
            self._ended = np.zeros(self.num_envs, np.bool_)
        else:
            self._ended = ended if live is None or self.autoreset_mode is AutoresetMode.NEXT_STEP else ended | ~live
        return rewards, terminated, truncated, info

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
        if not self._playing:
            raise ResetNeeded("no text is played: call reset() first")
        return self.episodes.track.choice_rewards()

    def reward_terms(self, actions: Any, target_log_probs: Any = None) -> dict[str, NDArray[np.float32]]:
        """Return the unweighted rewards of actions by the name of each term of the reward.

        Arguments and shapes are those of `position_rewards`; `dense` has no effect.
        """
        given = self._read(actions, target_log_probs)
        return self.episodes.track.terms(given.choices, given.log_probs)

    def position_counts(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of positions of texts that are chosen by `indices`, int64 [R] → int64 [R]."""
        return self.task.draw_counts(texts, np.zeros(len(texts), np.int64), _FIXED_KEY)

    def decide(self, prediction: Prediction, live: NDArray[np.bool_]) -> tuple[Step, NDArray[np.bool_]]:
        """Take a step with the output of a predictor, without autoreset and rewards, if texts take several steps.

        Args:
            prediction: choices; also log-probabilities and scores if the environment's actions are distributions.
            live: bool [N], the rows that play.

        Returns:
            The step, which `episodes.track.pay_step` rewards, and the rows that took it, bool [N].
        """
        log_probs = None if prediction.target_log_probs is None else prediction.target_log_probs.astype(np.float64)
        scores = prediction.scores
        if scores is None and self.task.needs_distributions:
            scores = np.zeros(prediction.choices.shape)  # without scores, all are equal: from left to right
        return self.episodes.decide_some(Decisions(prediction.choices, log_probs, scores), live)

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the task instead of the class, which is generated."""
        return remade, (self.task_class, TextVectorEnv), self.__dict__

    # Internals

    def _live(self, rows: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return the rows that this step plays, None for all.

        Raises:
            ResetNeeded: a row needs a reset.
        """
        if not self._playing:
            raise ResetNeeded("step() before reset(): call reset() first")
        if rows is not None and self.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(f"rows are given and autoreset_mode is {self.autoreset_mode.value}: make it 'Disabled'")
        if rows is None and not np.count_nonzero(self._ended):
            return None
        stuck = self._ended if rows is None else self._ended & rows
        if self.autoreset_mode is AutoresetMode.DISABLED and stuck.any():
            raise ResetNeeded(
                f"rows {np.flatnonzero(stuck).tolist()} have ended and autoreset is disabled: call "
                "reset(options={'reset_mask': terminated | truncated})"
            )
        live = ~self._ended if rows is None else rows
        return None if live.all() else live

    def _read(self, actions: Any, target_log_probs: Any) -> Decisions:
        """Check actions for all positions, outside a step."""
        if not self._playing:
            raise ResetNeeded("no text is played: call reset() first")
        if target_log_probs is None:
            return self._actions.of_texts(actions)
        return self._actions.compact(actions, target_log_probs)

    def _enter(self, rows: NDArray[np.int64], chosen: ResetOptions) -> None:
        """Start new texts in some rows: those given by index, or the sampler's next ones."""
        if chosen.indices is not None:
            self.episodes.enter(rows, chosen.indices[rows], np.zeros(len(rows), np.int64), _FIXED_KEY)
        else:
            self.episodes.enter(rows, *self._draw(rows), self._key)

    def _draw(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the sampler's next texts for some rows, one per group, and their numbers of earlier visits."""
        texts, visits = self._sampler.take(len(rows) // self.group_size)
        return np.repeat(texts, self.group_size), np.repeat(visits, self.group_size)

    def _begin(self, rows: NDArray[np.int64], info: dict[str, Any]) -> None:
        """Start the sampler's next texts in some rows, and add them to the info."""
        self.episodes.enter(rows, *self._draw(rows), self._key)
        info |= self._begun(rows, with_text=False)

    def _begun(self, rows: NDArray[np.int64], *, with_text: bool) -> dict[str, Any]:
        return begun_info(self.episodes.text_index, rows, self.task.text if with_text else None)

    def _copy(self) -> Observation:
        return {key: leaf.copy() for key, leaf in self.episodes.observation.items()}
