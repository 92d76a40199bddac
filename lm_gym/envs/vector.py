"""The native `gymnasium.vector.VectorEnv`, which plays many texts at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from lm_gym.bounds import PositiveInt, bounded
from lm_gym.envs.arguments import read_arguments
from lm_gym.envs.classes import remade
from lm_gym.envs.decisions import Decisions
from lm_gym.envs.infos import begun_info, final_info
from lm_gym.envs.options import read_options
from lm_gym.envs.outcomes import decide_position, decide_some, decide_text
from lm_gym.envs.rows import TextRows
from lm_gym.envs.sampler import FIXED_KEY, Sampler
from lm_gym.envs.spaces import Observation
from lm_gym.envs.state import restore_episodes, save_episodes
from lm_gym.naming import check_choice
from lm_gym.rewards import Step
from lm_gym.tasks import Prediction

_MODES = {mode.value: mode for mode in AutoresetMode} | {mode.name: mode for mode in AutoresetMode}

StepResult = tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


@bounded
class TextVectorEnv(TextRows):
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
        if not isinstance(autoreset_mode, AutoresetMode):
            autoreset_mode = _MODES[check_choice("autoreset_mode", autoreset_mode, _MODES)]
        super().__init__(num_envs, settings, options)
        self.group_size, self.autoreset_mode = group_size, autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": autoreset_mode}
        self._sampler = Sampler(settings.sampling, np.diff(self.task.encoded.offsets), num_envs // group_size)
        self._ended = np.zeros(num_envs, np.bool_)

    @property
    def draws(self) -> int:
        """Number of texts drawn by the sampler so far, one per group."""
        return self._sampler.draws

    def get_state(self) -> dict[str, Any]:
        """Return the current state as a dict of arrays and numbers (copies) for `set_state`.

        Raises:
            ResetNeeded: before the first reset.
        """
        self._require_reset()
        sampler = {"key": self._sampler.key, "draws": self._sampler.draws}
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
        self._sampler.restart(int(state["key"]), int(state["draws"]))
        self._playing = True
        return self._copy()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new texts.

        Args:
            seed: restart the sampler at draw 0, with the order and masks of this seed. If it is a sequence, as some
                wrappers pass, only its first seed counts.
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
        if seed is not None or self._sampler.key < 0:
            self._sampler.restart(int(self.np_random.integers(2**62)))
        if chosen.draws is not None:
            self._sampler.restart(self._sampler.key, chosen.draws)
        rows = chosen.rows
        if not self._playing and len(rows) < self.num_envs:
            raise ResetNeeded("the first reset must begin every row: call reset() without reset_mask")
        self._enter(rows, chosen.indices)
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
        if self.settings.unit == "token":
            rewards, terminated, steps, info = decide_position(self.episodes, decisions, live)
        elif self.at_once:
            rewards, terminated, steps, info = decide_text(self.episodes, decisions, live)
        else:
            rewards, terminated, steps, info = decide_some(self.episodes, decisions, live, self.group_size)
        limit = self.settings.max_episode_steps
        if limit is None or self.at_once:
            truncated = np.zeros(self.num_envs, np.bool_)
        else:
            truncated = (steps >= limit) & ~terminated & (True if live is None else live)
        self._autoreset(terminated | truncated, live, info)
        return rewards, terminated, truncated, info

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the task instead of the class, which is generated."""
        return remade, (self.task_class, TextVectorEnv), self.__dict__

    def _live(self, rows: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return the rows that this step plays, None for all.

        Raises:
            ResetNeeded: a row needs a reset.
        """
        if not self._playing:
            raise ResetNeeded("step() before reset(): call reset() first")
        if rows is not None and self.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(f"rows need autoreset_mode 'Disabled', not {self.autoreset_mode.value!r}: leave rows out")
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

    def _autoreset(self, ended: NDArray[np.bool_], live: NDArray[np.bool_] | None, info: dict[str, Any]) -> None:
        """Start new texts after a step, as `autoreset_mode` says, and add them to its info.

        Args:
            ended: bool [N], rows whose text ended in this step.
            live: bool [N], the rows that played; None for all.
            info: the info of the step.
        """
        next_step = self.autoreset_mode is AutoresetMode.NEXT_STEP
        if live is not None and next_step:
            self._begin(np.flatnonzero(~live), info)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            over = np.flatnonzero(ended)
            info |= final_info(self.episodes.observe(over), info, ended)
            self._begin(over, info)
            self._ended = np.zeros(self.num_envs, np.bool_)
        else:
            self._ended = ended if live is None or next_step else ended | ~live

    def _enter(self, rows: NDArray[np.int64], indices: NDArray[np.int64] | None = None) -> None:
        """Start new texts in some rows: those of `indices`, int64 [N], or the sampler's next ones, one per group."""
        if indices is not None:
            self.episodes.enter(rows, indices[rows], np.zeros(len(rows), np.int64), FIXED_KEY)
            return
        texts, visits = self._sampler.take(len(rows) // self.group_size)
        if self.group_size > 1:
            texts, visits = np.repeat(texts, self.group_size), np.repeat(visits, self.group_size)
        self.episodes.enter(rows, texts, visits, self._sampler.key)

    def _begin(self, rows: NDArray[np.int64], info: dict[str, Any]) -> None:
        """Start the sampler's next texts in some rows, and add them to the info."""
        self._enter(rows)
        info |= self._begun(rows, with_text=False)

    def _begun(self, rows: NDArray[np.int64], *, with_text: bool) -> dict[str, Any]:
        return begun_info(self.episodes.text_index, rows, self.task.text if with_text else None)
