"""Checks that the same seed, texts, draws, pickle or state give the same episodes."""

import pickle
from typing import cast

import numpy as np

from lm_gym.testing.played import SEED, AnyEnv, Played, assert_same, scribble


def check_determinism(played: Played, steps: int) -> None:
    """Check that two rollouts with the same seed are the same."""
    first, again = played.rollout(SEED, steps), played.rollout(SEED, steps)
    assert_same(first, again, "two rollouts with the same seed differ")


def check_sharing(played: Played, steps: int) -> None:
    """Check that overwriting every returned array does not change a rollout."""
    calm = played.rollout(SEED, steps)
    rng = np.random.default_rng(SEED)
    observation = played.reset(SEED)
    place = 1
    for _ in range(steps):
        scribble(observation)
        actions = played.actions(rng)
        observation, rewards, ended, info = played.step(actions)
        assert_same(calm[place : place + 3], [observation, rewards, ended], "the environment keeps a returned array")
        scribble(observation)
        scribble(info)
        actions[...] = 0
        begun = played.begin(ended)
        observation = observation if begun is None else begun
        played.bare.targets[...] = 0
        place += 5


def check_indices(played: Played) -> None:
    """Check that `indices` selects texts, independently of the seed."""
    for start in (0, played.bare.num_texts - 1):
        texts = (start + np.arange(played.texts)) % played.bare.num_texts
        indices = np.repeat(texts, played.vector.group_size)
        first = played.reset(SEED, indices=indices)
        assert np.array_equal(played.bare.text_index, indices), "the texts played are not those of indices"
        targets = played.bare.targets
        draws = played.bare.draws
        again = played.reset(SEED + 1, indices=indices)
        assert played.bare.draws == draws, "texts played by indices count as drawn"
        assert_same([first, targets], [again, played.bare.targets], "texts played by indices depend on the seed")


def check_draws(played: Played) -> None:
    """Check that continuing the sampler at a draw gives the same texts."""
    played.reset(SEED)
    assert played.bare.draws == played.texts, f"{played.bare.draws} draws after a reset of {played.texts} texts"
    draws = played.bare.draws
    following = [played.reset(), played.bare.text_index, played.bare.targets]
    played.reset(SEED + 1)
    continued = [played.reset(SEED, draws=draws), played.bare.text_index, played.bare.targets]
    assert_same(following, continued, "continuing at draws gives other texts")


def check_groups(played: Played, steps: int) -> None:
    """Check that the rows of a group play the same text in step."""
    rng = np.random.default_rng(SEED)
    observation = played.reset(SEED)
    for _ in range(steps):
        for value in (played.bare.text_index, played.bare.targets, observation["positions"]):
            groups = value.reshape(played.texts, played.vector.group_size, -1)
            assert (groups == groups[:, :1]).all(), "rows of a group differ"
        observation, _, ended, _ = played.step(played.actions(rng))
        begun = played.begin(ended)
        observation = observation if begun is None else begun


def check_pickling(played: Played, steps: int) -> None:
    """Check that a pickled copy continues like the original."""
    rng = np.random.default_rng(SEED)
    played.reset(SEED)
    ended = np.zeros(played.rows, np.bool_)
    if played.tokenwise:
        ended = played.step(played.actions(rng))[2]
    copy = Played(pickle.loads(pickle.dumps(played.bare)))
    both = (Played(cast(AnyEnv, played.bare)), copy)
    begun = [one.begin(ended) for one in both]
    assert_same(begun[:1], begun[1:], "a pickled copy starts other texts")
    for _ in range(steps):
        actions = played.actions(rng)
        original, copied = ([*one.step(actions)[:3], one.bare.text_index] for one in both)
        assert_same(original, copied, "a pickled copy continues differently")
        begun = [one.begin(np.asarray(original[2])) for one in both]
        assert_same(begun[:1], begun[1:], "a pickled copy starts other texts")


def check_state(played: Played, steps: int) -> None:
    """Check that an environment in another's state continues like the other."""
    rng = np.random.default_rng(SEED)
    played.reset(SEED)
    for _ in range(steps // 2):
        played.begin(played.step(played.actions(rng))[2])
    ended = played.step(played.actions(rng))[2]
    state = played.vector.get_state()
    played = Played(cast(AnyEnv, played.bare))  # the state does not include counters of wrappers
    other = Played(pickle.loads(pickle.dumps(played.bare)))
    other.reset(SEED + 1)
    observation = other.vector.set_state(state)
    assert_same([played.vector.episodes.observation], [observation], "a restored state has another observation")
    assert_same([played.begin(ended)], [other.begin(ended)], "a restored state starts other texts")
    for _ in range(steps):
        actions = played.actions(rng)
        original, restored = ([*one.step(actions)[:3], one.bare.text_index] for one in (played, other))
        assert_same(original, restored, "a restored state continues differently")
        ended = np.asarray(original[2])
        assert_same([played.begin(ended)], [other.begin(ended)], "a restored state starts other texts")
