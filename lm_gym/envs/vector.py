"""Many texts played at once: a native `gymnasium.vector.VectorEnv`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from lm_gym.data import Dataset
from lm_gym.envs.arguments import read_arguments
from lm_gym.envs.classes import remade
from lm_gym.envs.decisions import Decisions, read_choices, read_distributions, read_log_probs
from lm_gym.envs.episodes import Episodes, Observation
from lm_gym.envs.infos import begun_info, decided_info, final_info, paid_info
from lm_gym.envs.making import make_task, reward_of
from lm_gym.envs.options import ResetOptions, read_options
from lm_gym.envs.sampler import Sampler
from lm_gym.envs.spaces import action_space, observation_space
from lm_gym.envs.state import restore_episodes, save_episodes
from lm_gym.naming import check_choice
from lm_gym.rendering import render_text
from lm_gym.rewards import Step
from lm_gym.tasks import Cut, Prediction, Task, load_data

_FIXED_KEY = 0x5EED  # masks of texts played by `indices`: the same for every environment and seed
_MODES = {mode.value: mode for mode in AutoresetMode} | {mode.name: mode for mode in AutoresetMode}


StepResult = tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class TextVectorEnv(VectorEnv[Observation, Any, NDArray[Any]]):
    """N texts played at once: the base of every task's vector environment (`lm_gym.envs.environment_class`).

    Args:
        num_envs: N.
        autoreset_mode: what follows the end of an episode: `AutoresetMode.NEXT_STEP` (or its name or value):
            the next step begins another text, whatever the action; `SAME_STEP`: the same step does, and
            `info["final_obs"]` has the last observation; `DISABLED`: nothing, call
            `reset(options={"reset_mask": ended})`.
        group_size: G, rows that play the same text: rows k·G … k·G + G - 1 have one visit of it (so the same masks),
            begin and end together, and count as one draw. It divides N. Of texts that take several steps, a row that
            comes to the end of its text first has nothing to decide until the others have.
        arguments: see `lm_gym.envs.arguments.EnvArguments`, and the manual of the task's environment.

    Attributes:
        dataset: the data.
        split: the name of the split played.
        task: the split, encoded (`lm_gym.tasks.Task`).
        reward: the reward (`lm_gym.rewards.Reward`), with `minimum` and `separable`.
        num_texts: episodes in the split.
        positions_per_pass: positions decided in one pass over the split.
        cut: what `max_length` removed.
        targets: int64 [N, T], gold choices, n where padded.
        text_index: int64 [N], which text each row plays.
        draws: texts drawn so far by the sampler, one a group: the whole of its state beside the seed.
    """

    task_class: ClassVar[type[Task]]
    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's own declaration)
        "render_modes": ["ansi"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        group_size: int = 1,
        **arguments: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs}: give 1 or more")
        if group_size < 1 or num_envs % group_size:
            raise ValueError(f"group_size={group_size} does not divide num_envs={num_envs}: give a divisor of it")
        settings, options = read_arguments(arguments, self.task_class.Options)
        self.settings = settings
        self.autoreset_mode = (
            autoreset_mode
            if isinstance(autoreset_mode, AutoresetMode)
            else _MODES[check_choice("autoreset_mode", autoreset_mode, _MODES)]
        )
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = settings.render_mode
        self.num_envs, self.group_size = num_envs, group_size
        self.dataset: Dataset = load_data(self.task_class, settings.dataset)
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
        self._sampler = Sampler(settings.sampling, np.diff(self.task.encoded.offsets), num_envs // group_size)
        self._key = 0
        self._keyed = False
        self._ended = np.zeros(num_envs, np.bool_)
        self._playing = False

    # What was built

    @property
    def num_texts(self) -> int:
        """Episodes in the split."""
        return self.task.encoded.num_texts

    @property
    def positions_per_pass(self) -> int:
        """Positions decided in one pass over the split."""
        return self.task.encoded.num_positions

    @property
    def cut(self) -> Cut:
        """What `max_length` removed."""
        return self.task.encoded.cut

    @property
    def targets(self) -> NDArray[np.int64]:
        """Gold choices of the texts played, int64 [N, T], n where padded."""
        return self.episodes.targets.copy()

    @property
    def text_index(self) -> NDArray[np.int64]:
        """Which text each row plays, int64 [N]."""
        return self.episodes.text_index.copy()

    @property
    def draws(self) -> int:
        """Texts drawn so far by the sampler, one a group."""
        return self._sampler.draws

    @property
    def at_once(self) -> bool:
        """Whether one step decides all of a text (`unit="sequence"`, unless the task takes several steps)."""
        return self.settings.unit == "sequence" and not self.task.in_steps

    # What is played, kept and taken up again

    def get_state(self) -> dict[str, Any]:
        """All that is played at this moment, as a dict of arrays and numbers (copies) for `set_state`.

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
            The observation where it was.

        Raises:
            ValueError: the state is that of another number of rows, or of other texts.
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
        """Begin texts.

        Args:
            seed: restarts the sampler at draw 0, with the order and the masks of this seed. Of a sequence (as some
                wrappers give) the first one counts.
            options: `indices` int [N]: play these texts, with the masks of visit 0; `reset_mask` bool [N]: only
                these rows begin (neither may part a group); `draws`: continue the sampler at this draw.

        Raises:
            ValueError: if an option is unknown or out of range.
        """
        rows = self.begin(seed[0] if isinstance(seed, Sequence) else seed, options)
        return self._copy(), self._begun(rows, with_text=self.render_mode is not None)

    def begin(self, seed: int | None, options: dict[str, Any] | None) -> NDArray[np.int64]:
        """Reset without a copy of the observation; the rows that begin."""
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
        """Decide a position of every row, or all of them (`unit`).

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or, with autoreset disabled, where a row has ended.
            TypeError: if actions aren't numbers of the right kind.
            ValueError: if one is out of range, NaN or infinite.
        """
        outcome = self.advance(actions)
        return (self._copy(), *outcome)

    def advance(
        self, actions: Any, rows: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step without a copy of the observation: (rewards, terminated, truncated, info).

        Args:
            actions: as `step` takes them.
            rows: bool [N], with autoreset disabled: the rows that play. The others are out, and must be reset before
                they play again; their actions are ignored, their rewards 0. None: all.

        Raises:
            ValueError: if rows are given and autoreset isn't disabled.
        """
        live = self._live(rows)
        decisions = self._read(actions, live)
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
            rewards, steps = paid.sum(-1, dtype=np.float64) - self.task.step_cost * moved, self.episodes.steps
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
        """What the current texts would pay for actions, taking none of them.

        Args:
            actions: [..., N, T] integers, or [..., N, T, n] unnormalised log-probabilities; what stands where there
                is no position is ignored.
            target_log_probs: [..., N, T], where actions are distributions: a reward sees the most probable choice and
                the log-probability of the gold one only, so whoever has both may give these, and the choices as
                `actions`, instead of n numbers a position.

        Returns:
            float32 [..., N, T], 0 where padded.

        Raises:
            ValueError: as `step`; `target_log_probs` where actions are choices, or above 0, NaN or infinite.
        """
        given = self._read_all(actions) if target_log_probs is None else self._read_compact(actions, target_log_probs)
        return self.episodes.track.score(given.choices, given.log_probs)

    def reward_terms(self, actions: Any, target_log_probs: Any = None) -> dict[str, NDArray[np.float32]]:
        """What each term of the reward would pay at each position, unweighted, by name.

        Arguments and shapes are those of `position_rewards`; `dense=False` makes no difference here.
        """
        given = self._read_all(actions) if target_log_probs is None else self._read_compact(actions, target_log_probs)
        return self.episodes.track.terms(given.choices, given.log_probs)

    def position_counts(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of positions that texts have when they are asked for by `indices`, int64 [R] → int64 [R]."""
        return self.task.draw_counts(texts, np.zeros(len(texts), np.int64), _FIXED_KEY)

    def decide(self, prediction: Prediction, live: NDArray[np.bool_]) -> tuple[Step, NDArray[np.bool_]]:
        """Take a step of texts that take several by what a predictor says, without autoreset, and pay nothing.

        Args:
            prediction: choices; log-probabilities and scores where the environment's actions are distributions.
            live: bool [N], the rows that play.

        Returns:
            The step, which `episodes.track.pay_step` rewards, and the rows that took it, bool [N].
        """
        log_probs = None if prediction.target_log_probs is None else prediction.target_log_probs.astype(np.float64)
        scores = prediction.scores
        if scores is None and self.task.needs_distributions:
            scores = np.zeros(prediction.choices.shape)  # of one who is sure of nothing: from left to right
        return self.episodes.decide_some(Decisions(prediction.choices, log_probs, scores), live)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions make sense now; any other is played as it is.

        Returns:
            bool [N, n]; with `unit="sequence"` [N, T · n], position after position, of what makes sense whatever the
            other positions get (n + 1 a position where it may be left open).
        """
        if self.settings.unit == "sequence":
            legal = self.task.always_legal
            if self.task.may_wait:
                legal = np.append(legal, True)
            return np.tile(legal, (self.num_envs, self.task.shape.positions))
        return self.episodes.legal()

    def render(self) -> tuple[str, ...] | None:
        """The texts with their decisions, in ANSI colours, where `render_mode="ansi"`."""
        if self.render_mode is None:
            return None
        return tuple(self.render_row(row) for row in range(self.num_envs))

    def render_row(self, row: int) -> str:
        """One text with its decisions, in ANSI colours."""
        return render_text(self.task, self.episodes.decided_text(row))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by task: the class is made for it."""
        return remade, (self.task_class, TextVectorEnv), self.__dict__

    # Within

    def _live(self, rows: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Rows that this step plays, None for all.

        Raises:
            ResetNeeded: if there is a row that can't.
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

    def _read(self, actions: Any, live: NDArray[np.bool_] | None) -> Decisions:
        """Check the actions of a step."""
        if self.settings.unit == "sequence":
            if np.ndim(actions) != len(self.action_space.shape or ()):
                raise ValueError(f"actions have shape {np.shape(actions)}: it must be {self.action_space.shape}")
            return self._read_all(actions, live) if self.at_once else self._read_due(actions, live)
        shape, choices = (self.num_envs,), self.task.shape.choices
        if self.settings.actions == "token":
            return read_choices(actions, shape, choices, live)
        targets = self.episodes.targets_at_cursor
        return read_distributions(actions, shape, choices, targets, live)

    def _read_all(self, actions: Any, live: NDArray[np.bool_] | None = None) -> Decisions:
        """Check actions for all positions."""
        if not self._playing:
            raise ResetNeeded("no text is played: call reset() first")
        asked = self.episodes.observation["position_mask"] > 0
        if live is not None:
            asked = asked & live[:, None]
        targets, choices = self.episodes.targets, self.task.shape.choices
        if self.settings.actions == "token":
            return read_choices(actions, targets.shape, choices, asked)
        return read_distributions(actions, targets.shape, choices, targets, asked)

    def _read_due(self, actions: Any, live: NDArray[np.bool_] | None) -> Decisions:
        """Check the actions of a step that decides some positions; what stands at others is ignored."""
        asked = self.episodes.observation["due"] > 0
        if live is not None:
            asked = asked & live[:, None]
        targets, choices = self.episodes.targets, self.task.shape.choices + self.task.may_wait
        if self.settings.actions == "token":
            return read_choices(actions, targets.shape, choices, asked)
        return read_distributions(actions, targets.shape, choices, targets, asked, self.task.score)

    def _read_compact(self, choices: Any, target_log_probs: Any) -> Decisions:
        """Check distributions given by their most probable choice and their log-probability of the gold one."""
        if not self._playing:
            raise ResetNeeded("no text is played: call reset() first")
        if self.settings.actions != "distribution":
            raise ValueError(
                "target_log_probs are for actions='distribution'; here actions are choices: leave them out"
            )
        asked = self.episodes.observation["position_mask"] > 0
        read = read_choices(choices, asked.shape, self.task.shape.choices, asked)
        return Decisions(read.choices, read_log_probs(target_log_probs, read.choices.shape, asked))

    def _enter(self, rows: NDArray[np.int64], chosen: ResetOptions) -> None:
        """Give rows new texts: those asked for, or the sampler's next."""
        if chosen.indices is not None:
            self.episodes.enter(rows, chosen.indices[rows], np.zeros(len(rows), np.int64), _FIXED_KEY)
        else:
            self.episodes.enter(rows, *self._draw(rows), self._key)

    def _draw(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The sampler's next texts for rows that begin, one a group, and their visits."""
        texts, visits = self._sampler.take(len(rows) // self.group_size)
        return np.repeat(texts, self.group_size), np.repeat(visits, self.group_size)

    def _begin(self, rows: NDArray[np.int64], info: dict[str, Any]) -> None:
        """Give rows the sampler's next texts, and tell of them."""
        self.episodes.enter(rows, *self._draw(rows), self._key)
        info |= self._begun(rows, with_text=False)

    def _begun(self, rows: NDArray[np.int64], *, with_text: bool) -> dict[str, Any]:
        return begun_info(self.episodes.text_index, rows, self.task.text if with_text else None)

    def _copy(self) -> Observation:
        return {key: leaf.copy() for key, leaf in self.episodes.observation.items()}
