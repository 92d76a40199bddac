"""Checks that steps pay the rewards of `position_rewards`, and that padding pays nothing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lm_gym.testing.played import SEED, Played


def check_rewards(played: Played) -> None:
    """Check that steps pay the rewards of `position_rewards`, and that padding pays nothing."""
    played.reset(SEED)
    targets = played.bare.targets
    inside = targets < played.vector.task.shape.choices
    actions = played.actions(np.random.default_rng(SEED), whole=True)
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
    if played.tokenwise:
        _check_positions(played, actions, expected, inside.sum(1))
    elif played.vector.at_once:
        _check_texts(played, actions, expected)
    else:
        _check_steps(played, actions, expected)


def _check_texts(played: Played, actions: NDArray[Any], expected: NDArray[np.float32]) -> None:
    """Check the rewards of a step that decides whole texts."""
    _, rewards, ended, info = played.step(actions)
    paid = info["position_rewards"][None] if played.single else info["position_rewards"]
    assert ended.all(), "a step with unit='sequence' did not end the text"
    assert np.allclose(paid, expected, atol=1e-5), "info['position_rewards'] differ from position_rewards"
    assert np.allclose(rewards, expected.sum(1), atol=1e-4), "the reward is not the sum of position_rewards"


def _check_positions(
    played: Played, actions: NDArray[Any], expected: NDArray[np.float32], counts: NDArray[np.int64]
) -> None:
    """Check the rewards of steps that decide one position each, up to the end of the shortest texts."""
    ended, order, rows = np.zeros(played.rows, np.bool_), played.vector.episodes.order, np.arange(played.rows)
    for t in range(int(counts.min())):
        assert not ended.any(), "a text ended before its last position"
        slots = t if order is None else order[:, t].copy()
        paid = expected[rows, slots]
        if order is not None and not played.bare.reward.separable:  # the sum is paid last, wherever that is
            paid = np.where(counts == t + 1, expected.sum(1), 0.0)
        _, rewards, ended, _ = played.step(actions[rows, slots])
        assert np.allclose(rewards, paid, atol=1e-4), f"step {t} pays {rewards}, not {paid}"
        if played.truncated.any():  # by a limit on steps
            return
    assert (ended == (counts == counts.min())).all(), "a text did not end at its last position"


def _check_steps(played: Played, actions: NDArray[Any], expected: NDArray[np.float32]) -> None:
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
