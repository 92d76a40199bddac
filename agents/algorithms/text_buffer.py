"""A rollout buffer that stores each text once and makes minibatches of whole texts."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, get_args

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import BaseBuffer, DictRolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples

from lm_gym.agents.algorithms.group_advantages import GroupAdvantage, group_advantages

_TEXT = ("input_ids", "attention_mask", "positions")


class TextRolloutBuffer(DictRolloutBuffer):
    """A rollout buffer for Stable-Baselines3's on-policy algorithms in environments with `unit="token"`.

    A minibatch has U texts, each once, and S steps. For each step, it has the text (`text` int64 [S]) and the position
    (`cursor` int64 [S, 1]) that the step decides. `LMPolicy.evaluate_actions` encodes the texts once and evaluates all
    steps. The texts of a minibatch have similar lengths. It has about `batch_size` steps, because all steps of a text
    stay together.

    If G rows play the same text in parallel (the environment's `group_size`), they can give the advantages, without a
    critic, from the returns-to-go G_t of the G rows at a position and the estimators of `algorithms.estimators`.

    * `gae`: the advantage of Stable-Baselines3, from the critic.
    * `leave_one_out`: G_t minus the mean of the other rows.
    * `group_normalized`: (G_t − m) / s, with the mean m and the standard deviation s of the rows (GRPO, with each
      position as a group).
    * `maximum_likelihood`: G_t / m − 1, with the mean m of the rows; −1 if m = 0. It needs rewards that are never
      negative, or (`log_scale`) logarithms of likelihoods; exp(G_t) then replaces G_t.

    With `exact`, the values of the steps are log E_π[R], summed over every choice (`ExactCritic`), and m = E_π[R]
    replaces the mean of the rows. This is unbiased for ∇ log E[R] even with a single row, but noisier.

    If the rows drew different choices (`distinct`; set `LMPolicy.distinct` to G), means are weighted by ω, and an
    advantage is the coefficient that `algorithms.estimators` gives such samples: ω_k G (G_t / m − 1).

    If a rollout ends inside an episode, the critic's value is the estimate of its remaining return, as in
    Stable-Baselines3. The rows of a group share that value, which cancels in `leave_one_out`.

    Args:
        buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs: see DictRolloutBuffer. γ = 0
            suits rewards whose positions are independent.
        advantage: see above.
        group_size: G.
        log_scale: see above.
        distinct: see above; for γ = 0.
        exact: see above; for `maximum_likelihood` with γ = 0.

    Raises:
        ValueError: if the space has no cursor, the advantage is unknown, or the groups cannot give it.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        gae_lambda: float = 1.0,
        gamma: float = 0.99,
        n_envs: int = 1,
        *,
        advantage: GroupAdvantage = "gae",
        group_size: int = 1,
        log_scale: bool = False,
        distinct: bool = False,
        exact: bool = False,
    ) -> None:
        if not isinstance(observation_space, spaces.Dict) or "cursor" not in observation_space.spaces:
            raise ValueError(
                f"a TextRolloutBuffer needs texts decided position by position: make the environment with unit='token' "
                f"(its observation space is {observation_space})"
            )
        if advantage not in get_args(GroupAdvantage):
            raise ValueError(f"advantage {advantage!r} is not one of {', '.join(get_args(GroupAdvantage))}")
        if exact and (gamma != 0.0 or advantage != "maximum_likelihood"):
            raise ValueError(
                f"exact=True needs advantage='maximum_likelihood' and gamma=0, not advantage={advantage!r} and "
                f"gamma={gamma}: leave exact at False"
            )
        if advantage != "gae" and ((group_size < 2 and not exact) or n_envs % group_size):
            raise ValueError(
                f"advantage {advantage!r} compares rows that play the same text: group_size={group_size} must be 2 or "
                f"more and divide the {n_envs} rows; give the environment and the buffer the same"
            )
        if distinct and (gamma != 0.0 or advantage == "gae"):
            raise ValueError(
                f"distinct=True needs gamma=0 and an advantage other than 'gae', not advantage={advantage!r} and "
                f"gamma={gamma}: leave distinct at False"
            )
        self.advantage, self.group_size = advantage, group_size
        self.log_scale, self.distinct, self.exact = log_scale, distinct, exact
        super().__init__(buffer_size, observation_space, action_space, device, gae_lambda, gamma, n_envs)

    def reset(self) -> None:
        """Empty the buffer."""
        shape = (self.buffer_size, self.n_envs)
        self.actions = np.zeros((*shape, self.action_dim), self.action_space.dtype)
        self.cursors = np.zeros(shape, np.int64)
        self.rewards, self.returns, self.advantages = (np.zeros(shape, np.float32) for _ in range(3))
        self.episode_starts, self.values, self.log_probs = (np.zeros(shape, np.float32) for _ in range(3))
        self.text = np.zeros(shape, np.int64)
        self._texts: dict[str, list[NDArray[Any]]] = {name: [] for name in _TEXT}
        self._numbers: dict[bytes, int] = {}
        self._reading: dict[str, NDArray[Any]] = {}
        self.masks = _Masks()
        BaseBuffer.reset(self)  # not DictRolloutBuffer's, which allocates every observation

    def add(  # type: ignore[override]
        self,
        obs: dict[str, NDArray[Any]],
        action: NDArray[Any],
        reward: NDArray[Any],
        episode_start: NDArray[Any],
        value: th.Tensor,
        log_prob: th.Tensor,
    ) -> None:
        """Add one step of every row. A text is stored when its row begins it."""
        step = self.pos
        self._check_groups(obs)
        self.text[step] = self._number(obs)
        self.cursors[step] = obs["cursor"][:, 0]
        if "action_mask" in obs:
            self.masks.add(obs["action_mask"])
        self.actions[step] = np.asarray(action).reshape(self.n_envs, self.action_dim)
        self.rewards[step], self.episode_starts[step] = reward, episode_start
        self.values[step] = value.detach().cpu().numpy().flatten()
        self.log_probs[step] = log_prob.detach().cpu().numpy().flatten()
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: NDArray[Any]) -> None:
        """Compute returns and advantages of the steps by `advantage` (see `DictRolloutBuffer`)."""
        if self.advantage == "gae":
            super().compute_returns_and_advantage(last_values, dones)
            return
        G = last_values.detach().cpu().numpy().flatten() * (1.0 - dones)
        for step in reversed(range(self.buffer_size)):
            G = self.rewards[step] + self.gamma * G
            self.returns[step] = G
            G = G * (1.0 - self.episode_starts[step])
        self.advantages[:] = group_advantages(
            self.returns,
            self.group_size,
            self.advantage,
            log_scale=self.log_scale,
            distinct=self.log_probs if self.distinct else None,
            log_mean=self.values if self.exact else None,
        )

    def get(  # type: ignore[override]  # as DictRolloutBuffer's
        self, batch_size: int | None = None
    ) -> Generator[DictRolloutBufferSamples, None, None]:
        """Yield minibatches of whole texts in random order, with about `batch_size` steps; None gives one."""
        assert self.full, "the rollout is not complete"
        for texts in self._batches(batch_size):
            yield self._get_samples(texts)

    def _batches(self, batch_size: int | None) -> list[NDArray[np.int64]]:
        """Group the texts by length into batches with about the same number of steps."""
        steps = np.bincount(self.text.ravel(), minlength=len(self._texts["input_ids"]))
        shuffled = th.randperm(len(steps)).numpy()
        lengths = np.array([mask.sum() for mask in self._texts["attention_mask"]])
        order = shuffled[np.argsort(lengths[shuffled], kind="stable")]
        count = 1 if batch_size is None else max(1, round(steps.sum() / batch_size))
        middle = steps[order].cumsum() - steps[order] / 2
        parts = np.split(order, np.searchsorted(middle, steps.sum() * np.arange(1, count) / count))
        return [parts[i] for i in th.randperm(len(parts)).tolist() if len(parts[i])]

    def _get_samples(self, batch_inds: NDArray[np.int64], env: Any = None) -> DictRolloutBufferSamples:  # type: ignore[override]
        """Collect all steps of some texts."""
        place = np.full(len(self._texts["input_ids"]), -1)
        place[batch_inds] = np.arange(len(batch_inds))
        steps = np.flatnonzero(place[self.text.ravel()] >= 0)
        obs = {name: self.to_torch(np.stack([leaves[i] for i in batch_inds])) for name, leaves in self._texts.items()}
        obs["text"] = self.to_torch(place[self.text.ravel()[steps]])
        obs["cursor"] = self.to_torch(self.cursors.ravel()[steps][:, None])
        if self.masks:
            obs["action_mask"] = self.to_torch(self.masks.of(steps))
        flat = (self.values, self.log_probs, self.advantages, self.returns)
        actions = self.actions.reshape(-1, self.action_dim)[steps].astype(np.float32)
        return DictRolloutBufferSamples(obs, self.to_torch(actions), *(self.to_torch(a.ravel()[steps]) for a in flat))

    def _number(self, obs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Find the number of the text of each row, int64 [N], and store new texts."""
        if not self._reading:
            self._reading = {name: np.array(obs[name]) for name in _TEXT}
            rows, numbers = np.arange(self.n_envs), np.zeros(self.n_envs, np.int64)
        else:
            changed = np.zeros(self.n_envs, np.bool_)
            for name, leaf in self._reading.items():
                changed |= (leaf != obs[name]).any(1)
            rows, numbers = np.flatnonzero(changed), self.text[self.pos - 1].copy()
            for name, leaf in self._reading.items():
                leaf[rows] = obs[name][rows]
        for row in rows.tolist():
            key = b"".join(leaf[row].tobytes() for leaf in self._reading.values())
            number = self._numbers.setdefault(key, len(self._numbers))
            if number == len(self._texts["input_ids"]):
                for name, leaf in self._reading.items():
                    self._texts[name].append(leaf[row].copy())
            numbers[row] = number
        return numbers

    def _check_groups(self, obs: dict[str, NDArray[Any]]) -> None:
        if self.advantage == "gae" or (self.exact and not self.distinct):
            return
        for name in ("input_ids", "cursor"):
            groups = np.asarray(obs[name]).reshape(-1, self.group_size, obs[name].shape[1])
            if (groups != groups[:, :1]).any():
                raise ValueError(
                    f"rows of a group differ in {name}: the buffer has group_size={self.group_size}, so make the "
                    "environment with the same group_size (and fill='parallel')"
                )


class _Masks:
    """The action masks of a rollout. Each distinct mask is stored once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._rows: list[NDArray[np.int8]] = []
        self._of: list[NDArray[np.int64]] = []
        self._last: NDArray[Any] | None = None

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, masks: NDArray[Any]) -> None:
        """Add the masks [N, n] of the next step."""
        if self._last is not None and np.array_equal(masks, self._last):
            self._of.append(self._of[-1])
            return
        self._last = np.array(masks)
        numbers = np.empty(len(masks), np.int64)
        for row, mask in enumerate(self._last.astype(np.int8)):
            numbers[row] = self._numbers.setdefault(mask.tobytes(), len(self._rows))
            if numbers[row] == len(self._rows):
                self._rows.append(mask)
        self._of.append(numbers)

    def of(self, steps: NDArray[np.int64]) -> NDArray[np.int8]:
        """Get the masks [S, n] of steps, which are numbered row by row in time."""
        return np.stack(self._rows)[np.concatenate(self._of)[steps]]
