"""A check of the contract of text environments, including your own."""

import pickle
from copy import deepcopy
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from lm_gym.envs import TextEnv, TextVectorEnv
from lm_gym.envs.spaces import Observation

AnyEnv = gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]
_SEED = 20


def check_text_env(env: AnyEnv, steps: int = 60) -> None:
    """Check a single or vector text environment against the contract that agents rely on.

    The check covers spaces and dtypes, padding, determinism by seed, independence of returned arrays, agreement of
    rewards with `position_rewards`, `indices`, continuing at `draws`, groups, pickling and states. It resets and steps
    the environment, and leaves it in an arbitrary state.

    Args:
        env: the environment, wrapped or not.
        steps: number of steps of each rollout.

    Raises:
        AssertionError: the environment breaks the contract; the message says how.
        TypeError: it is not a text environment.
    """
    played = _Played(env)
    _check_attributes(played)
    _check_observations(played, steps)
    _check_determinism(played, steps)
    _check_sharing(played, steps)
    _check_rewards(played)
    _check_indices(played)
    _check_draws(played)
    _check_groups(played, steps)
    _check_pickling(played, steps)
    _check_state(played, steps)


class _Played:
    """A single or vector environment, seen as N rows."""

    def __init__(self, env: AnyEnv) -> None:
        bare = env.unwrapped
        if not isinstance(bare, TextEnv | TextVectorEnv):
            raise TypeError(f"{type(bare).__name__} is neither a TextEnv nor a TextVectorEnv")
        self.env, self.bare = env, bare
        self.single = isinstance(bare, TextEnv)
        self.vector = bare.vector if isinstance(bare, TextEnv) else bare
        self.tokenwise = self.vector.settings.unit == "token"
        self.rows = self.vector.num_envs
        self.texts = self.rows // self.vector.group_size
        self.truncated = np.zeros(self.rows, np.bool_)  # in the last step

    def reset(self, seed: int | None = None, **options: Any) -> Observation:
        observation, info = cast(Any, self.env).reset(seed=seed, options=options or None)
        index, begun = np.atleast_1d(info["index"]), np.atleast_1d(info.get("_index", True))
        assert (~begun | (index == self.bare.text_index)).all(), f"info['index'] {index} is not text_index"
        assert observation in self.env.observation_space, "the observation of reset() is not in the observation space"
        return self._batched(observation)

    def step(self, actions: NDArray[Any]) -> tuple[Observation, NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step the rows; return the batched observation, rewards, ends of episodes and info."""
        given = actions[0] if self.single else actions
        observation, reward, terminated, truncated, info = cast(Any, self.env).step(given)
        assert observation in self.env.observation_space, "the observation of step() is not in the observation space"
        self.truncated = np.atleast_1d(truncated)
        ended = np.atleast_1d(terminated) | self.truncated
        return self._batched(observation), np.atleast_1d(reward), ended, info

    def begin(self, ended: NDArray[np.bool_]) -> Observation | None:
        """Reset the rows that have ended if autoreset is disabled."""
        if not ended.any() or self.vector.autoreset_mode is not AutoresetMode.DISABLED:
            return None
        return self.reset() if self.single else self.reset(reset_mask=ended)

    def actions(self, rng: np.random.Generator, *, whole: bool = False) -> NDArray[Any]:
        """Draw random actions for a step, or for whole texts."""
        shape: tuple[int, ...] = (self.rows,)
        if whole or not self.tokenwise:
            shape = (self.rows, self.vector.task.shape.positions)
        choices = self.vector.task.shape.choices
        if not whole and not self.tokenwise:
            choices += self.vector.task.may_wait
        if self.vector.settings.actions == "distribution":
            return rng.normal(size=(*shape, choices)).astype(np.float32)
        return rng.integers(0, choices, shape)

    def rollout(self, seed: int, steps: int) -> list[Any]:
        """Return all results of a seeded rollout."""
        rng = np.random.default_rng(seed)
        kept: list[Any] = [deepcopy(self.reset(seed))]
        for _ in range(steps):
            observation, rewards, ended, _ = self.step(self.actions(rng))
            kept += deepcopy([observation, rewards, ended, self.bare.text_index])
            kept.append(deepcopy(self.begin(ended)))
        return kept

    def _batched(self, observation: Observation) -> Observation:
        return {key: leaf[None] for key, leaf in observation.items()} if self.single else observation


def _check_attributes(played: _Played) -> None:
    bare, shape = played.bare, played.vector.task.shape
    played.reset(_SEED)
    assert bare.split in bare.dataset.splits, f"split {bare.split!r} is not a split of the dataset"
    assert bare.num_texts >= 1, "the split has no texts"
    assert bare.positions_per_pass >= bare.num_texts, "a text has no positions"
    assert bare.text_index.shape == (played.rows,), f"text_index has shape {bare.text_index.shape}"
    assert bare.targets.shape == (played.rows, shape.positions), f"targets have shape {bare.targets.shape}"
    assert bare.targets.dtype == np.int64, f"targets are {bare.targets.dtype}"
    assert len(bare.cut) == 2, f"cut is {bare.cut}"
    assert isinstance(bare.reward.separable, bool), "reward.separable is not a bool"
    assert isinstance(bare.reward.minimum, float), "reward.minimum is not a float"
    for key, space in cast(gymnasium.spaces.Dict, played.vector.single_observation_space).spaces.items():
        assert isinstance(space, gymnasium.spaces.Box), f"the space of {key} is not a Box"
        assert space.dtype in (np.int64, np.int8), f"the space of {key} has dtype {space.dtype}"


def _check_observations(played: _Played, steps: int) -> None:
    rng = np.random.default_rng(_SEED)
    _check_padding(played, played.reset(_SEED))
    for _ in range(steps):
        observation, rewards, ended, _ = played.step(played.actions(rng))
        assert np.isfinite(rewards).all(), f"rewards {rewards}"
        begun = played.begin(ended)
        _check_padding(played, observation if begun is None else begun)


def _check_padding(played: _Played, observation: Observation) -> None:
    """Check that masks are prefixes, that padding is right, and that positions lie inside the text."""
    tokens, positions, choices = played.vector.task.shape
    lengths, counts = observation["attention_mask"].sum(1), observation["position_mask"].sum(1)
    inside = np.arange(positions) < counts[:, None]
    assert (counts >= 1).all(), "a text has no positions"
    assert (observation["attention_mask"] == (np.arange(tokens) < lengths[:, None])).all(), "attention_mask has holes"
    assert (observation["position_mask"] == inside).all(), "position_mask has holes"
    padding = observation["input_ids"][np.arange(tokens) >= lengths[:, None]]
    assert (padding == played.vector.task.tokenizer.pad).all(), "input_ids after the text are not padding"
    places = observation["positions"]
    assert (places[~inside] == 0).all(), "padded positions are not 0"
    assert (places < lengths[:, None]).all(), "a position lies outside the text"
    assert (np.diff(places, axis=1)[inside[:, 1:]] > 0).all(), "positions do not ascend"
    predictions, targets = observation["predictions"], played.bare.targets
    assert (predictions[~inside] == choices).all(), "padded predictions are not n"
    assert (targets[~inside] == choices).all(), "padded targets are not n"
    assert ((targets[inside] >= 0) & (targets[inside] < choices)).all(), "a target is outside 0 … n - 1"
    if played.tokenwise:
        decided = ((predictions < choices) & inside).sum(1)
        expected, order = np.minimum(decided, counts - 1)[:, None], played.vector.episodes.order
        expected = expected if order is None else np.take_along_axis(order, expected, axis=1)
        assert (observation["cursor"] == expected).all(), "the cursor isn't at the next position of the order"
    if "due" in observation:
        open_ = inside & ((predictions == choices) | played.vector.task.may_reopen)
        assert not (observation["due"] > open_).any(), "a position is due that isn't open"


def _check_determinism(played: _Played, steps: int) -> None:
    first, again = played.rollout(_SEED, steps), played.rollout(_SEED, steps)
    _assert_same(first, again, "two rollouts with the same seed differ")


def _check_sharing(played: _Played, steps: int) -> None:
    """Check that overwriting every returned array does not change a rollout."""
    calm = played.rollout(_SEED, steps)
    rng = np.random.default_rng(_SEED)
    observation = played.reset(_SEED)
    place = 1
    for _ in range(steps):
        _scribble(observation)
        actions = played.actions(rng)
        observation, rewards, ended, info = played.step(actions)
        _assert_same(calm[place : place + 3], [observation, rewards, ended], "the environment keeps a returned array")
        _scribble(observation)
        _scribble(info)
        actions[...] = 0
        begun = played.begin(ended)
        observation = observation if begun is None else begun
        played.bare.targets[...] = 0
        place += 5


def _check_rewards(played: _Played) -> None:
    """Check that steps pay the rewards of `position_rewards`, and that padding pays nothing."""
    played.reset(_SEED)
    targets = played.bare.targets
    inside = targets < played.vector.task.shape.choices
    actions = played.actions(np.random.default_rng(_SEED), whole=True)
    expected = played.bare.position_rewards(actions)
    assert expected.shape == targets.shape, f"position_rewards has shape {expected.shape}, not {targets.shape}"
    assert expected.dtype == np.float32, f"position_rewards has dtype {expected.dtype}"
    assert (expected[~inside] == 0).all(), "padded positions have rewards"
    assert (expected >= played.bare.reward.minimum - 1e-5).all(), "a reward is below reward.minimum"
    samples = played.bare.position_rewards(np.stack([actions, actions]))
    assert np.allclose(samples, expected, atol=1e-5), "position_rewards of several samples differ from those of one"
    if played.bare.reward.enumerable and played.vector.settings.actions == "token":
        gold, others = played.vector.choice_rewards()
        others = np.broadcast_to(others, (*targets.shape, played.vector.task.shape.choices))
        found = np.where(actions == targets, gold, np.take_along_axis(others, actions[..., None], -1)[..., 0])
        assert np.allclose(np.where(inside, found, 0.0), expected, atol=1e-5), "choice_rewards differ from rewards"
    if played.vector.task.draws_choices and not played.vector.at_once:
        return  # each step draws its choices anew
    if played.vector.task.in_steps and not played.tokenwise:
        _check_steps(played, actions, expected)
        return
    if not played.tokenwise:
        _, rewards, ended, info = played.step(actions)
        paid = info["position_rewards"][None] if played.single else info["position_rewards"]
        assert ended.all(), "a step with unit='sequence' did not end the text"
        assert np.allclose(paid, expected, atol=1e-5), "info['position_rewards'] differ from position_rewards"
        assert np.allclose(rewards, expected.sum(1), atol=1e-4), "the reward is not the sum of position_rewards"
        return
    ended, order, rows = np.zeros(played.rows, np.bool_), played.vector.episodes.order, np.arange(played.rows)
    for t in range(int(inside.sum(1).min())):
        assert not ended.any(), "a text ended before its last position"
        slots = t if order is None else order[:, t].copy()
        paid = expected[rows, slots]
        if order is not None and not played.bare.reward.separable:  # the sum is paid last, wherever that is
            paid = np.where(inside.sum(1) == t + 1, expected.sum(1), 0.0)
        _, rewards, ended, _ = played.step(actions[rows, slots])
        assert np.allclose(rewards, paid, atol=1e-4), f"step {t} pays {rewards}, not {paid}"
        if played.truncated.any():  # by a limit on steps
            return
    assert (ended == (inside.sum(1) == inside.sum(1).min())).all(), "a text did not end at its last position"


def _check_steps(played: _Played, actions: NDArray[Any], expected: NDArray[np.float32]) -> None:
    """Check that the rewards of steps sum to those of `position_rewards`, minus the costs of the steps."""
    total, running = np.zeros(played.rows), np.ones(played.rows, np.bool_)
    if played.vector.task.may_wait and played.vector.settings.actions == "distribution":
        actions = np.concatenate([actions, np.full((*actions.shape[:-1], 1), -1e4, actions.dtype)], axis=-1)
    open_ = played.vector.task.may_end_open or played.vector.settings.max_episode_steps is not None
    while running.any():
        _, rewards, ended, info = played.step(actions)
        paid = info["position_rewards"][None] if played.single else info["position_rewards"]
        cost = played.vector.task.step_cost
        assert np.allclose(rewards[running], paid.sum(1)[running] - cost, atol=1e-4), "a step pays another sum"
        total += np.where(running, rewards + cost, 0.0)
        running &= ~ended
        played.begin(ended)
    if not open_:
        assert np.allclose(total, expected.sum(1), atol=1e-4), f"steps pay {total}, not {expected.sum(1)}"


def _check_indices(played: _Played) -> None:
    """Check that `indices` selects texts, independently of the seed."""
    for start in (0, played.bare.num_texts - 1):
        texts = (start + np.arange(played.texts)) % played.bare.num_texts
        indices = np.repeat(texts, played.vector.group_size)
        first = played.reset(_SEED, indices=indices)
        assert np.array_equal(played.bare.text_index, indices), "the texts played are not those of indices"
        targets = played.bare.targets
        draws = played.bare.draws
        again = played.reset(_SEED + 1, indices=indices)
        assert played.bare.draws == draws, "texts played by indices count as drawn"
        _assert_same([first, targets], [again, played.bare.targets], "texts played by indices depend on the seed")


def _check_draws(played: _Played) -> None:
    """Check that continuing the sampler at a draw gives the same texts."""
    played.reset(_SEED)
    assert played.bare.draws == played.texts, f"{played.bare.draws} draws after a reset of {played.texts} texts"
    draws = played.bare.draws
    following = [played.reset(), played.bare.text_index, played.bare.targets]
    played.reset(_SEED + 1)
    continued = [played.reset(_SEED, draws=draws), played.bare.text_index, played.bare.targets]
    _assert_same(following, continued, "continuing at draws gives other texts")


def _check_pickling(played: _Played, steps: int) -> None:
    """Check that a pickled copy continues like the original."""
    rng = np.random.default_rng(_SEED)
    played.reset(_SEED)
    ended = np.zeros(played.rows, np.bool_)
    if played.tokenwise:
        ended = played.step(played.actions(rng))[2]
    copy = _Played(pickle.loads(pickle.dumps(played.bare)))
    both = (_Played(cast(AnyEnv, played.bare)), copy)
    begun = [one.begin(ended) for one in both]
    _assert_same(begun[:1], begun[1:], "a pickled copy starts other texts")
    for _ in range(steps):
        actions = played.actions(rng)
        original, copied = ([*one.step(actions)[:3], one.bare.text_index] for one in both)
        _assert_same(original, copied, "a pickled copy continues differently")
        begun = [one.begin(np.asarray(original[2])) for one in both]
        _assert_same(begun[:1], begun[1:], "a pickled copy starts other texts")


def _check_groups(played: _Played, steps: int) -> None:
    """Check that the rows of a group play the same text in step."""
    rng = np.random.default_rng(_SEED)
    observation = played.reset(_SEED)
    for _ in range(steps):
        for value in (played.bare.text_index, played.bare.targets, observation["positions"]):
            groups = value.reshape(played.texts, played.vector.group_size, -1)
            assert (groups == groups[:, :1]).all(), "rows of a group differ"
        observation, _, ended, _ = played.step(played.actions(rng))
        begun = played.begin(ended)
        observation = observation if begun is None else begun


def _check_state(played: _Played, steps: int) -> None:
    """Check that an environment in another's state continues like the other."""
    rng = np.random.default_rng(_SEED)
    played.reset(_SEED)
    for _ in range(steps // 2):
        played.begin(played.step(played.actions(rng))[2])
    ended = played.step(played.actions(rng))[2]
    state = played.vector.get_state()
    played = _Played(cast(AnyEnv, played.bare))  # the state does not include counters of wrappers
    other = _Played(pickle.loads(pickle.dumps(played.bare)))
    other.reset(_SEED + 1)
    observation = other.vector.set_state(state)
    _assert_same([played.vector.episodes.observation], [observation], "a restored state has another observation")
    _assert_same([played.begin(ended)], [other.begin(ended)], "a restored state starts other texts")
    for _ in range(steps):
        actions = played.actions(rng)
        original, restored = ([*one.step(actions)[:3], one.bare.text_index] for one in (played, other))
        _assert_same(original, restored, "a restored state continues differently")
        ended = np.asarray(original[2])
        _assert_same([played.begin(ended)], [other.begin(ended)], "a restored state starts other texts")


def _assert_same(first: list[Any], second: list[Any], message: str) -> None:
    for one, other in zip(first, second, strict=True):
        if isinstance(one, dict):
            assert one.keys() == other.keys(), f"{message}: {sorted(one)} and {sorted(other)}"
            for key in one:
                assert np.array_equal(one[key], other[key]), f"{message}: {key}"
        elif one is None:
            assert other is None, message
        else:
            assert np.array_equal(one, other), f"{message}: {one} and {other}"


def _scribble(value: Any) -> None:
    """Overwrite every number in a result of the environment."""
    if isinstance(value, dict):
        for inner in value.values():
            _scribble(inner)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        for inner in value:
            _scribble(inner)
    elif isinstance(value, np.ndarray) and value.ndim and value.flags.writeable:
        value[...] = 1
