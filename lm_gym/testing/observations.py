"""Checks of attributes, spaces and the padding of observations."""

from typing import cast

import gymnasium
import numpy as np

from lm_gym.envs.spaces import Observation
from lm_gym.testing.played import SEED, Played


def check_attributes(played: Played) -> None:
    """Check the attributes of the environment, and the leaves of its observation space."""
    bare, shape = played.bare, played.vector.task.shape
    played.reset(SEED)
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


def check_observations(played: Played, steps: int) -> None:
    """Check the observations and the rewards of a rollout."""
    rng = np.random.default_rng(SEED)
    _check_padding(played, played.reset(SEED))
    for _ in range(steps):
        observation, rewards, ended, _ = played.step(played.actions(rng))
        assert np.isfinite(rewards).all(), f"rewards {rewards}"
        begun = played.begin(ended)
        _check_padding(played, observation if begun is None else begun)


def _check_padding(played: Played, observation: Observation) -> None:
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
