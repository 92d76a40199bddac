"""The dynamics of the environments: N episodes as a struct of arrays."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lm_gym.envs.decisions import Decisions
from lm_gym.envs.spaces import Observation, empty_observation
from lm_gym.hashing import mix
from lm_gym.rewards import Board, Decision, Reward, Step
from lm_gym.tasks import DecidedText, Progress, Task

_CHOICE = np.uint64(0xC401CE)  # random quantities besides those of `Task.open`


class Episodes:
    """The current texts, one per row.

    Args:
        task: the task, with its texts.
        reward: the reward, bound to the task.
        num_rows: N.
        space: the observation space of a single environment.
        distributions: whether actions are distributions.

    Attributes:
        observation: the live observation, each leaf [N, …]; copy it before returning it to users.
        targets: int64 [N, T], gold choices, n where padded.
        counts: int64 [N], number of positions.
        decided: int64 [N], number of decided positions.
        steps: int64 [N], number of steps (only if `in_steps`).
        order: int64 [N, T], slots in the order in which they are decided; None for left to right.
        in_steps: whether each step decides some positions of every row (`decide_some`).
        text_index: int64 [N], index of the text of each row; -1 before the first text.
        visits: int64 [N], number of earlier visits of each text.
        keys: int64 [N], key of the random masks of each text.
        log_probs: float64 [N, T], log-probabilities of the targets of decided positions; None if actions are choices
            or one step decides all.
    """

    def __init__(self, task: Task, reward: Reward, num_rows: int, space: spaces.Dict, *, distributions: bool) -> None:
        tokens, positions, choices = task.shape
        self.task = task
        self.num_choices = choices
        self.targets = np.full((num_rows, positions), choices, np.int64)
        self.counts = np.ones(num_rows, np.int64)
        self._one = np.ones(num_rows, np.int64)  # adding an array is three times as fast as adding a Python number
        self._last = self.counts - 1  # the last position of each text, where the cursor stays
        self.decided = np.zeros(num_rows, np.int64)
        self.text_index = np.full(num_rows, -1, np.int64)
        self.visits = np.zeros(num_rows, np.int64)
        self.keys = np.zeros(num_rows, np.int64)
        self.steps = np.zeros(num_rows, np.int64)
        self.order: NDArray[np.int64] | None = None
        self.observation: Observation = empty_observation(space, task, num_rows)
        self._predictions = self.observation["predictions"]
        self._cursor = self.observation.get("cursor", np.zeros((num_rows, 1), np.int64))
        self.in_steps = "due" in self.observation
        several = self.in_steps or "cursor" in self.observation
        self.log_probs = np.zeros((num_rows, positions)) if distributions and several else None
        self._write = task.writes
        none = np.zeros(1, np.int64)
        self._allowed = None if task.allowed(none) is None else np.ones((num_rows, choices), np.bool_)
        self._gains = None if task.gains(none) is None else np.zeros((num_rows, choices))
        self._masks = "action_mask" in self.observation and (not task.static_masks or self._allowed is not None)
        self._rows = np.arange(num_rows)
        self._starts = self._rows * positions  # where each row begins in the flattened [N, T] arrays
        self._tokens = np.arange(tokens)
        self._places = np.arange(positions)
        board = Board(self.targets, self._predictions, self.counts, self.observe, self._gains, self._obeys)
        self.track = reward.track(board)

    def observe(self, rows: NDArray[np.int64]) -> Observation:
        """Return a copy of the observation of some rows."""
        return {key: leaf[rows] for key, leaf in self.observation.items()}

    def enter(self, rows: NDArray[np.int64], texts: NDArray[np.int64], visits: NDArray[np.int64], key: int) -> None:
        """Start new texts in some rows; all arguments are int64 [R] (see `Task.open`)."""
        opened = self.task.open(texts, visits, key)
        observation = self.observation
        observation["input_ids"][rows] = opened.input_ids
        observation["attention_mask"][rows] = self._tokens < opened.lengths[:, None]
        observation["positions"][rows] = opened.positions
        observation["position_mask"][rows] = self._places < opened.counts[:, None]
        self._predictions[rows] = self.num_choices
        self._cursor[rows] = 0
        if opened.order is not None:
            if self.order is None:
                self.order = np.tile(self._places, (len(self.counts), 1))
            self.order[rows] = opened.order
            self._cursor[rows, 0] = opened.order[:, 0]
        self.targets[rows] = opened.targets
        self.counts[rows] = opened.counts
        self._last[rows] = opened.counts - 1
        self.decided[rows] = 0
        self.steps[rows] = 0
        self.text_index[rows] = texts
        self.visits[rows] = visits
        self.keys[rows] = key
        if self._allowed is not None:
            self._allowed[rows] = self.task.allowed(texts)
        if self._gains is not None:
            self._gains[rows] = self.task.gains(texts)
        if self.in_steps:
            self.update_due()
        elif self._masks:
            self._update_masks()
        self.track.enter(rows)

    def decide(
        self, choices: NDArray[np.int64], log_probs: NDArray[np.float64] | None, live: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Decide the position at the cursor of every row.

        Args:
            choices: int64 [N], in [0, n); the array is kept.
            log_probs: float64 [N], log-probability of each target, if actions are distributions.
            live: bool [N], the rows that play; None for all. The others must start new texts before they play again.

        Returns:
            Rewards, float64 [N], and ends of episodes, bool [N]; 0 and False in rows that do not play.
        """
        cursor = self._cursor[:, 0]
        rows, at = self._rows, self._starts + cursor
        targets = self.targets.take(at)
        here, chosen = cursor, choices  # for the rows that play
        if live is not None:
            targets, rows = np.where(live, targets, 0), rows[live]
            here, chosen, at = cursor[rows], choices[rows], at[rows]
        self._predictions.put(at, chosen)
        self.decided += self._one if live is None else live
        if self.log_probs is not None and log_probs is not None:
            self.log_probs[rows, here] = log_probs[rows]
        if self._write:
            self.task.write(self.observation, rows, here, chosen)
        last = self.task.ended(self.decided, self.counts)
        rewards = self.track.pay(Decision(choices, targets, log_probs, cursor, last))
        np.minimum(self.decided, self._last, out=cursor)
        if self.order is not None:
            cursor[...] = self.order[self._rows, cursor]
        if self._masks:
            self._update_masks()
        if live is not None:
            rewards, last = np.where(live, rewards, 0.0), last & live
        return rewards, last

    def decide_all(
        self, choices: NDArray[np.int64], log_probs: NDArray[np.float64] | None, live: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        """Decide every position of every row.

        Args:
            choices: int64 [N, T], in [0, n) at positions.
            log_probs: float64 [N, T] or None.
            live: bool [N], the rows that play; None for all.

        Returns:
            float32 [N, T]; 0 where padded and in rows that do not play.
        """
        inside = self.observation["position_mask"] > 0
        if live is not None:
            inside &= live[:, None]
        np.copyto(self._predictions, choices, where=inside)
        np.copyto(self.decided, self.counts, where=True if live is None else live)
        rewards = self.track.score(choices, log_probs)
        return rewards if live is None else np.where(live[:, None], rewards, np.float32(0.0))

    def decide_some(self, decisions: Decisions, live: NDArray[np.bool_] | None) -> tuple[Step, NDArray[np.bool_]]:
        """Decide some positions of every row: among those due, the ones that the task takes.

        Args:
            decisions: choices int64 [N, T], n where a position is left open.
            live: bool [N], the rows that play; None for all.

        Returns:
            The step, which `track.pay_step` rewards, and the rows that took it, bool [N]: those that play and had not
            finished their text.
        """
        playing = ~self.finished if live is None else live & ~self.finished
        due = (self.observation["due"] > 0) & playing[:, None]
        last = self.is_last
        open_ = self._predictions == self.num_choices
        decided = self.task.taken(due & open_, decisions.choices, decisions.scores, last)
        taken_back = self._take_back(due & ~open_, decisions.choices) if self.task.may_reopen else None
        np.copyto(self._predictions, decisions.choices, where=decided)
        if self.log_probs is not None and decisions.log_probs is not None:
            np.copyto(self.log_probs, decisions.log_probs, where=decided)
        if self._write:
            rows, slots = np.nonzero(decided)
            self.task.write(self.observation, rows, slots, decisions.choices[rows, slots])
        self.decided += decided.sum(-1)
        self.steps += playing
        self.update_due()
        return Step(decided, playing & self.finished, self.log_probs, taken_back), playing

    def cost(self, step: Step, moved: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the cost of a step of the rows that took it, bool [N] → float64 [N]."""
        cost = np.where(moved, self.task.step_cost, 0.0)
        if step.taken_back is not None:
            cost = cost + self.task.reopen_cost * (step.taken_back < self.num_choices).sum(-1)
        return cost

    def _take_back(self, due: NDArray[np.bool_], choices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Open the due positions whose choice is n, and return what they were, int64 [N, T], n elsewhere."""
        back = due & (choices == self.num_choices)
        before = np.where(back, self._predictions, self.num_choices)
        rows, slots = np.nonzero(back)
        self.task.reopen(self.observation, rows, slots)
        self._predictions[back] = self.num_choices
        self.decided -= back.sum(-1)
        return before

    def update_due(self) -> None:
        """Update which positions the next step of every row may decide, and how many steps are left."""
        order = np.tile(self._places, (len(self.counts), 1)) if self.order is None else self.order
        inside = (self.observation["position_mask"] > 0) & ~self.finished[:, None]
        open_ = self._predictions == self.num_choices
        progress = Progress(inside & open_, inside & ~open_, order, self.decided, self.is_last)
        self.observation["due"][...] = self.task.due(progress)
        if self.task.max_steps is not None:
            self.observation["steps_left"][:, 0] = self.task.max_steps - self.steps
        if self._masks:
            self._update_masks()

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Return which rows have finished their texts, bool [N], if texts take several steps."""
        limit = self.task.max_steps
        over = self.task.ended(self.decided, self.counts)
        return over if limit is None else over | (self.steps >= limit)

    @property
    def is_last(self) -> NDArray[np.bool_]:
        """Rows whose next step is the last that `max_steps` allows, bool [N]."""
        limit = self.task.max_steps
        return np.zeros(len(self.counts), np.bool_) if limit is None else self.steps >= limit - 1

    def _obeys(self, choices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which texts obey the task's rule with these choices, int64 [..., N, T] → bool [..., N]."""
        return self.task.obeys(self.observation, choices)

    @property
    def uniforms(self) -> NDArray[np.float64] | None:
        """A random number in [0, 1) for each position at this step, float64 [N, T]; None if the task draws nothing.

        It depends on the key and visit of the text, and on the number of earlier steps.
        """
        if not self.task.draws_choices:
            return None
        steps = self.steps if self.in_steps else self.decided
        counters = (self.keys, _CHOICE, self.visits, self.text_index, steps)
        hashed = mix(*(np.asarray(counter)[..., None] for counter in counters), self._places)
        return np.asarray(np.broadcast_to((hashed >> np.uint64(11)) * 2.0**-53, self.targets.shape))

    @property
    def targets_at_cursor(self) -> NDArray[np.int64]:
        """Return the gold choices of the positions to decide now, int64 [N]."""
        return self.targets[self._rows, self._cursor[:, 0]]

    @property
    def uniforms_at_cursor(self) -> NDArray[np.float64] | None:
        """The random numbers of the positions to decide now, float64 [N]; None if the task draws nothing."""
        uniforms = self.uniforms
        return None if uniforms is None else uniforms[self._rows, self._cursor[:, 0]]

    def legal(self) -> NDArray[np.bool_]:
        """Return a mask of sensible choices, bool [N, n]."""
        legal = self.always_legal()
        here = self.task.legal(self._predictions, self._cursor[:, 0])
        if here is None:
            return legal
        left = here & legal
        return np.where(left.any(1, keepdims=True), left, legal)  # after the last decision, no choice may be left

    def always_legal(self) -> NDArray[np.bool_]:
        """Return the choices that can be legal at any position of each text, bool [N, n]."""
        always = np.repeat(self.task.always_legal[None], len(self.counts), axis=0)
        return always if self._allowed is None else always & self._allowed

    def decided_text(self, row: int) -> DecidedText:
        """Return the text of a row with its decisions so far."""
        inside = self.observation["position_mask"][row] > 0
        places, choices = self.observation["positions"][row][inside], self._predictions[row][inside]
        return DecidedText(int(self.text_index[row]), places, self.targets[row][inside], choices)

    def _update_masks(self) -> None:
        self.observation["action_mask"][...] = self.legal()
