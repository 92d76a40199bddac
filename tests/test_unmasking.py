"""Unmasking: the orders in which positions are decided, steps, and rewards."""

import gymnasium
import numpy as np
import pytest

import lm_gym
from lm_gym.tasks.decoding_order import SCORES, most_certain, next_in_order, random_order, up_to_block
from lm_gym.tasks.unmasking_options import UnmaskingOptions
from tests.puzzles import ID, begun, make


def test_a_clue_that_is_no_word_is_refused():
    with pytest.raises(lm_gym.data.DataError, match="text 0: the clue 4 is not a word of it"):
        make(rows=[{"tokens": list("1234"), "clues": [4]}])


def test_clues_are_no_positions():
    env = make()
    observation = begun(env, 0)
    assert observation["positions"][0].tolist() == [1, 3, 4, 0]
    assert make(clues=False).task.encoded.counts.tolist() == [4, 4]


def test_a_fixed_order_decides_so_many_a_step_and_no_block_in_part():
    env = make(unit="sequence", per_step=2, block_size=3)
    dues = [begun(env)["due"][0].tolist()]
    for _ in range(2):
        observation, *_ = env.step(np.full((2, 4), 5))
        dues.append(observation["due"][0].tolist())
    assert dues == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert (observation["input_ids"][0, 1:4] == 5).all()  # decided tokens are part of later observations


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_a_random_order_is_a_permutation_that_a_visit_decides(unit):
    orders = []
    for seed in (1, 1, 2):
        env = make(16, unit=unit, order="random", group_size=2)
        env.reset(seed=seed)
        orders.append(env.episodes.order.copy())
    assert (np.sort(orders[0], axis=1) == np.arange(4)).all()
    assert (orders[0][::2] == orders[0][1::2]).all()
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


def test_the_surest_positions_come_first():
    env = make(unit="sequence", actions="distribution", order="confidence", per_step=1)
    begun(env)
    scores = np.zeros((2, 4, 17), np.float32)
    scores[:, [0, 1, 2, 3], [5, 6, 7, 8]] = [1.0, 3.0, 2.0, 0.5]
    observation, *_, info = env.step(scores)
    assert observation["predictions"][0].tolist() == [17, 6, 17, 17]
    assert info["decided"].tolist() == [1, 1]


def test_a_threshold_decides_more_where_the_policy_is_sure():
    env = make(unit="sequence", actions="distribution", order="margin", threshold=0.5)
    begun(env)
    scores = np.zeros((2, 4, 17), np.float32)
    scores[0, [0, 1, 2, 3], 5] = [9.0, 8.0, 0.0, 9.0]
    assert env.step(scores)[4]["decided"].tolist() == [3, 1]


def test_scores_by_hand():
    log_probs = np.log([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])
    assert SCORES["confidence"](log_probs) == pytest.approx([0.5, 0.8])
    assert SCORES["margin"](log_probs) == pytest.approx([0.25, 0.7])
    assert SCORES["entropy"](log_probs)[0] == pytest.approx(-1.5 * np.log(2))


def test_orders_by_hand():
    keys, counts = np.array([[7, 1, 5, 2], [9, 8, 3, 0]], np.uint64), np.array([4, 3])
    assert random_order(keys, counts, None).tolist() == [[1, 3, 2, 0], [2, 1, 0, 3]]  # slot 3 of the second is padded
    assert random_order(keys, counts, 2).tolist() == [[1, 0, 3, 2], [1, 0, 2, 3]]
    order, decided = np.array([[3, 1, 0, 2], [0, 1, 2, 3]]), np.array([1, 0])
    assert next_in_order(order, decided, 2, None).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert next_in_order(order, decided, 3, 2).astype(int).tolist() == [[0, 1, 0, 0], [1, 1, 0, 0]]
    assert up_to_block(np.array([1, 2]), 4, 2).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert up_to_block(np.array([1, 2]), 4, None).all()
    due, scores = np.array([[True, True, False, True]]), np.array([[0.2, 0.7, 0.9, 0.7]])
    assert most_certain(due, scores, np.array([1])).astype(int).tolist() == [[0, 1, 0, 0]]
    assert most_certain(due, scores, np.array([4])).tolist() == due.tolist()


@pytest.mark.parametrize(("leave_open", "decided"), [(False, 4), (True, 2)])
def test_the_last_step_decides_the_rest_unless_it_stays_open(leave_open, decided):
    env = make(unit="sequence", max_steps=2, leave_open=leave_open, reward="accuracy")
    begun(env)
    gold = np.where(env.targets < 17, env.targets, 0)
    assert not env.step(gold)[2].any()
    observation, rewards, ended, _, info = env.step(gold)
    assert ended.all()
    assert observation["steps_left"].tolist() == [[0], [0]]
    assert 1 + info["decided"][0] == decided
    assert rewards.tolist() == [decided - 1] * 2


def test_an_action_may_wait_and_a_step_costs():
    env = make(unit="sequence", order="learned", max_steps=2, step_cost=0.25, reward="accuracy")
    begun(env)
    assert env.single_action_space.nvec.tolist() == [18] * 4
    some = env.targets.copy()
    some[0, :] = 17
    _, rewards, ended, *_ = env.step(some)
    assert rewards.tolist() == [-0.25, 3.75]
    assert ended.tolist() == [False, True]


def test_a_text_that_ends_open_gets_the_least_that_a_position_pays():
    env = make(unit="sequence", order="learned", max_steps=1, reward="log_likelihood")
    begun(env)
    _, rewards, *_ = env.step(np.full((2, 4), 17))
    assert rewards == pytest.approx([4 * env.reward.minimum] * 2)


def test_exact_match_is_paid_at_the_end():
    env = make(unit="sequence", per_step=3, reward="exact_match")
    begun(env)
    actions = env.targets.copy()
    actions[1, 3] = 5 if actions[1, 3] != 5 else 6
    assert env.step(actions)[1].tolist() == [0.0, 0.0]
    assert env.step(actions)[1].tolist() == [1.0, 0.0]


def test_masks_filled_in_one_by_one_are_unmasking_from_left_to_right():
    source = {"dataset": "builtin/masked_lm", "max_length": 24, "reward": "accuracy", "mask_probability": 0.5}
    filled = gymnasium.make_vec("lm_gym/MaskedLM-v0", 4, fill="sequential", autoreset_mode="SameStep", **source)
    unmasked = gymnasium.make_vec(ID, 4, autoreset_mode="SameStep", **source)
    rng = np.random.default_rng(0)
    one, other = filled.reset(seed=5)[0], unmasked.reset(seed=5)[0]
    for _ in range(40):
        assert all(np.array_equal(one[name], other[name]) for name in one)
        actions = rng.integers(0, 4096, 4)
        (one, *paid, _), (other, *also, _) = filled.step(actions), unmasked.step(actions)
        assert np.array_equal(paid, also)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "randm"}, "did you mean 'random'"),
        ({"per_step": 0}, "per_step"),
        ({"threshold": 0.5}, "order by the policy's distributions"),
        ({"order": "learned"}, "give max_steps"),
        ({"order": "learned", "max_steps": 3, "per_step": 2}, "leave it at 1"),
        ({"leave_open": True}, "give max_steps"),
        ({"per_step": None, "step_cost": 0.1}, "decides a text in one step"),
        ({"mask_probability": 0.0}, "mask_probability"),
        ({"step_cost": -1.0}, "step_cost"),
        ({"remask": True}, "needs order='learned'"),
        ({"order": "learned", "max_steps": 3, "remask_cost": 0.1}, "needs remask=True"),
        ({"order": "learned", "max_steps": 3, "leave_open": True}, "decides what stays open"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UnmaskingOptions(**options)


def test_a_group_ends_when_its_last_row_does():
    env = make(2, unit="sequence", order="learned", max_steps=3, group_size=2, step_cost=0.5, reward="accuracy")
    begun(env)
    actions = env.targets.copy()
    actions[1] = 17  # this row waits; the other row of its group has finished
    outcomes = [env.step(actions) for _ in range(3)]
    assert [rewards.tolist() for _, rewards, *_ in outcomes] == [[3.5, -0.5], [0.0, -0.5], [0.0, -0.5]]
    assert [ended.tolist() for _, _, ended, *_ in outcomes] == [[False, False], [False, False], [True, True]]
    assert not outcomes[0][0]["due"][0].any()
