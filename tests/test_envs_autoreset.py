"""Ends of episodes: the modes of autoreset, truncation, and rows that wait for a reset."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from tests.tagged import playable, vector


def test_next_step_resets_on_the_next_step_whatever_the_action():
    made = vector(unit="sequence")
    made.reset(seed=0)
    ended = made.step(made.action_space.sample())
    assert ended[2].all()
    played = made.text_index
    observation, rewards, terminated, _, info = made.step(made.action_space.sample() + 1000)
    assert not terminated.any()
    assert (rewards == 0).all()
    assert (info["_index"]).all()
    assert (info["index"] != played).any()
    assert (observation["predictions"] == made.task.shape.choices).all()


def test_same_step_shows_the_last_observation():
    made = vector(unit="sequence", autoreset_mode="SameStep")
    assert made.metadata["autoreset_mode"] is made.autoreset_mode is AutoresetMode.SAME_STEP
    made.reset(seed=0)
    gold = playable(made.targets, made.task.shape.choices)
    inside = made.targets < made.task.shape.choices
    observation, _, _, _, info = made.step(gold)
    for row in range(4):
        assert (info["final_obs"][row]["predictions"][inside[row]] == gold[row][inside[row]]).all()
    assert (observation["predictions"] == made.task.shape.choices).all()
    assert (info["final_info"]["position_rewards"] == info["position_rewards"]).all()


def test_disabled_waits_for_a_reset():
    made = vector(unit="token", autoreset_mode=AutoresetMode.DISABLED)
    made.reset(seed=0)
    ended = np.zeros(4, np.bool_)
    while not ended.any():
        ended = made.step(made.action_space.sample())[2]
    with pytest.raises(ResetNeeded, match="have ended"):
        made.step(made.action_space.sample())
    before = made.text_index
    observation, info = made.reset(options={"reset_mask": ended})
    assert (info["_index"] == ended).all()
    assert (made.text_index[~ended] == before[~ended]).all()
    assert (observation["cursor"][ended] == 0).all()
    assert (observation["cursor"][~ended] > 0).all()
    made.step(made.action_space.sample())


def test_max_episode_steps_truncates_the_vector_environment():
    made = vector(max_episode_steps=2, autoreset_mode="SAME_STEP")
    made.reset(seed=0, options={"indices": np.argsort(-made.task.encoded.counts)[:4]})
    assert not made.step(made.action_space.sample())[3].any()
    assert made.step(made.action_space.sample())[3].all()
    made.step(made.action_space.sample())


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_some_rows_play_and_the_others_are_out_until_they_are_reset(unit):
    made = vector(unit=unit, autoreset_mode="DISABLED")
    made.reset(seed=0)
    playing = np.array([True, False, True, False])
    gold = playable(made.targets, made.task.shape.choices)
    before = made.episodes.observe(np.arange(4))
    rewards, terminated, _, _ = made.advance(gold[:, 0] if unit == "token" else gold, playing)
    after = made.episodes.observe(np.arange(4))
    assert (rewards[~playing] == 0).all()
    assert not terminated[~playing].any()
    for key, leaf in before.items():
        assert (leaf[~playing] == after[key][~playing]).all()
    assert (before["predictions"][playing] != after["predictions"][playing]).any(1).all()
    with pytest.raises(ResetNeeded, match=r"rows \[1, 3\]" if unit == "token" else r"rows \[0, 1, 2, 3\]"):
        made.step(made.action_space.sample())
    made.reset(options={"reset_mask": ~playing | terminated})
    made.step(made.action_space.sample())
    other = vector()
    other.reset(seed=0)
    with pytest.raises(ValueError, match="rows need autoreset_mode 'Disabled'"):
        other.advance(other.action_space.sample(), playing)
