"""Groups of rows that play the same text, and saved and restored states."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import lm_gym
from lm_gym.rewards import REWARDS, LogLikelihood
from lm_gym.testing import check_text_env
from tests.cases import MODES
from tests.tagged import DATA, IDS, MASKED, NER, vector

SIX = {"num_envs": 6, "group_size": 3}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("unit", ["token", "sequence"])
@pytest.mark.parametrize("id_", IDS)
def test_contract_with_groups(id_, unit, mode):
    check_text_env(vector(id_, unit=unit, autoreset_mode=mode, sampling="bucketed", **SIX), 20)


@pytest.mark.parametrize("id_", IDS)
def test_a_group_plays_one_visit_of_the_text_that_a_row_alone_would(id_):
    groups = vector(id_, unit="sequence", autoreset_mode="SAME_STEP", **SIX)
    alone = vector(id_, 2, unit="sequence", autoreset_mode="SAME_STEP")
    for made in (groups, alone):
        made.reset(seed=4)
    for _ in range(70):  # more than one pass, to include the masks of later visits
        for key, leaf in alone.episodes.observation.items():
            assert np.array_equal(groups.episodes.observation[key], np.repeat(leaf, 3, axis=0)), key
        assert groups.draws == alone.draws
        for made in (groups, alone):
            made.step(np.zeros(made.action_space.shape, np.int64))


def test_a_group_ends_in_step_though_its_rows_decide_differently():
    made = vector(autoreset_mode="SAME_STEP", max_episode_steps=5, **SIX)
    made.reset(seed=0)
    rng, differed = np.random.default_rng(0), False
    for _ in range(60):
        _, rewards, terminated, truncated, _ = made.step(rng.integers(0, 9, 6))
        for ended in (terminated, truncated):
            assert (ended.reshape(2, 3) == ended[::3, None]).all()
        differed |= bool((rewards.reshape(2, 3) != rewards[::3, None]).any())
    assert differed


def test_indices_and_draws_of_groups():
    made = vector(autoreset_mode="DISABLED", **SIX)
    made.reset(seed=0, options={"indices": [7, 7, 7, 2, 2, 2]})
    assert made.text_index.tolist() == [7, 7, 7, 2, 2, 2]
    assert made.draws == 0
    made.reset(seed=0)
    first = made.text_index
    made.reset()
    assert made.draws == 4
    made.reset(options={"draws": 0})
    assert np.array_equal(made.text_index, first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": [7, 7, 2, 2, 2, 2]}, r"'indices'\] splits a group"),
        ({"reset_mask": np.array([True, True, False, True, True, True])}, r"'reset_mask'\] splits a group"),
    ],
)
def test_a_reset_does_not_part_a_group(options, message):
    made = vector(**SIX)
    made.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        made.reset(options=options)


@pytest.mark.parametrize("group_size", [0, -1, 4])
def test_groups_fill_the_rows(group_size):
    with pytest.raises(ValueError, match=r"does not divide num_envs=6|at least 1"):
        vector(num_envs=6, group_size=group_size)


def halves(predictions, targets, mask):
    return np.where(mask, predictions == targets, 0.0).cumsum(-1) / 2


def reference(observation):
    return np.full((*observation["positions"].shape, 4096), -np.log(4096.0)) + observation["input_ids"][:, :1, None]


TAGGING = [name for name, make in REWARDS.items() if {"choice", "iob2"} & make().gold]
PLAYED = [
    *[(NER, {"reward": name, "dense": dense}) for name in TAGGING for dense in (True, False)],
    (NER, {"reward": {"f1": 1.0, "accuracy": 0.3}, "dense": False}),
    (NER, {"reward": halves}),
    (NER, {"reward": "log_likelihood", "dense": False, "actions": "distribution"}),
    (MASKED, {"reward": "accuracy", "fill": "sequential", "mask_actions": True}),
    (MASKED, {"reward": LogLikelihood(0.1, reference), "fill": "sequential"}),
]


def play(made, rng, steps):
    """Return the results of steps, resetting the rows that wait for it."""
    kept = []
    for _ in range(steps):
        shape = made.action_space.shape
        floats = made.settings.actions == "distribution"
        actions = rng.normal(size=shape) if floats else rng.integers(0, made.single_action_space.n, shape)
        observation, rewards, terminated, truncated, _ = made.step(actions)
        kept += [rewards, terminated, truncated, made.text_index, *observation.values()]
        ended = terminated | truncated
        if made.autoreset_mode is AutoresetMode.DISABLED and ended.any():
            kept += made.reset(options={"reset_mask": ended})[0].values()
    return kept


@pytest.mark.parametrize(("id_", "options"), PLAYED, ids=lambda value: re.sub(r" at 0x\w+", "", str(value)))
def test_a_state_goes_on_exactly_in_the_middle_of_texts(id_, options):
    for mode in MODES:
        made = vector(id_, 5, autoreset_mode=mode, **options)
        made.reset(seed=1)
        play(made, np.random.default_rng(2), 7)  # texts of 3 to 14 words: some are in their second, none is in step
        state = made.get_state()
        assert len(set(state["decided"])) > 1
        other = vector(id_, 5, autoreset_mode=mode, **options)
        observation = other.set_state(state)
        for key, leaf in observation.items():
            assert np.array_equal(leaf, made.episodes.observation[key]), key
        one, two = (play(each, np.random.default_rng(3), 40) for each in (made, other))
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_state_holds_texts_asked_for_beside_those_of_the_sampler():
    made, other = (vector(MASKED, 3, autoreset_mode="SAME_STEP", mask_probability=0.5) for _ in range(2))
    made.reset(seed=5, options={"indices": np.argsort(made.task.encoded.counts)[[0, 0, -1]]})
    play(made, np.random.default_rng(0), int(made.episodes.counts[0]))
    assert len({*made.episodes.keys}) == 2  # texts of the sampler have replaced the shorter texts
    other.set_state(made.get_state())
    one, two = (play(each, np.random.default_rng(3), 30) for each in (made, other))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_state_of_waiting_rows_and_of_whole_texts():
    for unit, mode in (("token", "NEXT_STEP"), ("sequence", "NEXT_STEP"), ("sequence", "DISABLED")):
        made, other = (vector(NER, 3, unit=unit, autoreset_mode=mode) for _ in range(2))
        made.reset(seed=5)
        ended = np.zeros(3, np.bool_)
        while not ended.any():
            ended = made.step(np.zeros(made.action_space.shape, np.int64))[2]
        other.set_state(made.get_state())
        if mode == "DISABLED":
            with pytest.raises(ResetNeeded, match="have ended"):
                other.step(np.zeros(other.action_space.shape, np.int64))
            continue
        for _ in range(20):
            one, two = (each.step(np.ones(each.action_space.shape, np.int64)) for each in (made, other))
            assert all(np.array_equal(a, b) for a, b in zip(one[1:4], two[1:4], strict=True))


def test_a_state_is_a_copy():
    made = vector()
    made.reset(seed=0)
    state = made.get_state()
    made.step(np.ones(4, np.int64))
    assert state["decided"].tolist() == [0] * 4
    assert (state["predictions"] == 9).all()


def test_states_that_do_not_fit():
    made = vector()
    with pytest.raises(ResetNeeded, match="call reset"):
        made.get_state()
    made.reset(seed=0)
    state = made.get_state()
    with pytest.raises(ValueError, match=r"text_index has shape \(4,\): an environment with .* needs \(3,\)"):
        vector(num_envs=3).set_state(state)
    with pytest.raises(ValueError, match="predictions has shape"):
        vector(MASKED).set_state(state)
    with pytest.raises(ValueError, match="log_probs is missing"):
        vector(actions="distribution").set_state(state)
    with pytest.raises(ValueError, match="plays text 999, but the split has only the texts 0 … 59"):
        made.set_state({**state, "text_index": np.full(4, 999)})


def test_make_vec_takes_group_size():
    made = gymnasium.make_vec(NER, num_envs=4, dataset=DATA[NER], group_size=2)
    assert made.group_size == 2
    with pytest.raises(ValueError, match="does not divide num_envs=1"):
        lm_gym.NEREnv(dataset=DATA[NER], group_size=2)
