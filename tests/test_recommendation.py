"""Recommendation: slates ranked one item at a time, discounted gains, metrics, baselines, the builtin users."""

import hashlib
import json

import gymnasium
import numpy as np
import pytest

import lm_gym
from lm_gym.agents import LMPolicy, evaluate
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.evaluation.playing import baselines
from lm_gym.builtin.names import SPLITS
from lm_gym.builtin.recommendations import SIZES, UserMaker
from lm_gym.ranking import clicked, discounts, ideal, repeated
from lm_gym.rewards import DiscountedGain
from lm_gym.tasks import DecidedText, Evaluation, load_data
from lm_gym.tasks.recommendation import Recommendation
from tests.cases import word_level
from tests.small import small

ID = "lm_gym/Recommendation-v0"
TOKENIZER = word_level(["a", "b", "c", "d", "e", "x", "y", "z"])
RECORDS = [
    {"history": ["a", "b"], "liked": "c d", "candidates": ["x y", "z", "x", "e"], "relevance": [0, 2, 1, 0]},
    {"history": [], "liked": "e", "candidates": ["y", "z"], "relevance": [1, 3]},
]
USERS_SHA256 = "2fd123445221d5e231fbcadf7a7f35321652145bdfb66f2532f1d80a604e1ae5"
LOG3 = np.log2(3)


def make(records=RECORDS, num_envs=2, **options):
    given = {"unit": "sequence", "tokenizer": TOKENIZER, "sampling": "sequential", "autoreset_mode": "SameStep"}
    data = load_data(Recommendation, records) if isinstance(records, list) else records
    return gymnasium.make_vec(ID, num_envs=num_envs, dataset=data, **{**given, **options})


def played(env, rankings):
    """Return an evaluation of these rankings, one per text."""
    task = env.unwrapped.task
    flat = np.concatenate(rankings)
    offsets = np.concatenate([[0], np.cumsum([len(ranking) for ranking in rankings])])
    nothing, texts = np.zeros_like(flat), np.arange(len(rankings))
    return Evaluation(task, texts, offsets, flat, nothing, nothing, None, np.zeros(len(texts), np.float32))


@pytest.fixture(scope="module")
def makers():
    return {split: UserMaker(split) for split in SPLITS}


# ---------------------------------------------------------------------- texts and steps


def test_history_and_slate_stand_in_the_text():
    ids = make().reset(seed=0)[0]["input_ids"]
    shown = [" ".join(TOKENIZER.id_to_token(id_) for id_ in row.tolist()).replace(" [PAD]", "") for row in ids]
    assert shown[0] == "[CLS] a [SEP] b [SEP] c d [MASK] x y [MASK] z [MASK] x [MASK] e [MASK] [SEP]"
    assert shown[1] == "[CLS] e [MASK] y [MASK] z [MASK] [SEP]"


def test_targets_are_the_ideal_ranking():
    env = make(k=3)
    env.reset(seed=0)
    assert env.unwrapped.targets.tolist() == [[1, 2, 0], [1, 0, 4]]  # the second slate has two items
    assert env.unwrapped.task.encoded.counts.tolist() == [3, 2]
    assert env.unwrapped.positions_per_pass == 5


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_no_item_is_ranked_twice(unit):
    env = make(unit=unit, k=3, mask_actions=False)
    observation, _ = env.reset(seed=0)
    assert observation["action_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    for step, mask in enumerate(([[1, 0, 1, 1], [1, 0, 0, 0]], [[0, 0, 1, 1], None])):
        if unit == "sequence":
            assert observation["due"][0].tolist() == [int(rank == step) for rank in range(3)]
        choices = np.array([[1, 1], [0, 0]][step])
        actions = choices if unit == "token" else np.repeat(choices[:, None], 3, axis=1)
        observation, _, ended, _, _ = env.step(actions)
        assert observation["action_mask"][0].tolist() == mask[0]
        assert mask[1] is None or observation["action_mask"][1].tolist() == mask[1]
        if step == 0:
            assert not ended.any()
    assert ended.tolist() == [False, True]


def test_with_k_1_one_step_picks_an_item():
    env = make(k=1)
    assert env.unwrapped.at_once
    env.reset(seed=0)
    _, rewards, ended, _, _ = env.step(np.array([[2], [1]]))
    assert rewards.tolist() == [0.5, 1.0]
    assert ended.all()


def test_rankings_are_shown_as_items():
    env = make(k=2)
    task = env.unwrapped.task
    text = DecidedText(0, np.array([11, 12]), np.array([1, 2]), np.array([2, 0]))
    assert task.predicted(text, None) == {"predicted": ["x", "x y"]}
    assert json.loads(task.format_prediction(text)) == {"liked": "c d", "gold": ["z", "x"], "predicted": ["x", "x y"]}
    shown = " ".join(part.text for part in task.parts(text))
    assert shown == "a | b | c d [1] x y [2] z [3] x [4] e → #1 #2"
    assert [task.choice_name(choice) for choice in (0, 3)] == ["1", "4"]


# ---------------------------------------------------------------------- rewards


def test_arithmetic_of_rankings():
    assert np.allclose(discounts(3), [1, 1 / LOG3, 0.5])
    assert np.allclose(ideal(np.array([[0.0, 1.0, 2.0, 0.0]]), 2), 2 + 1 / LOG3)
    assert repeated(np.array([[3, 1, 3, 1], [0, 1, 2, 3]])).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0]]


def test_each_rank_pays_its_discounted_gain():
    env = make(num_envs=1, k=3, unit="token")
    env.reset(seed=0)
    best = 2 + 1 / LOG3
    paid = [float(env.step(np.array([choice]))[1][0]) for choice in (2, 0, 1)]
    assert paid == pytest.approx([1 / best, 0, 1 / best])
    rewards = env.unwrapped.position_rewards(np.array([[1, 1, 1]]))
    env.reset(seed=0)
    rewards = env.unwrapped.position_rewards(np.array([[1, 1, 2]]))
    assert rewards[0].tolist() == pytest.approx([2 / best, 0, 0.5 / best])  # a repeated item earns nothing


@pytest.mark.parametrize(
    ("reward", "arguments", "expected"),
    [
        ("ndcg", {"exponential": True}, [3 / (3 + 1 / LOG3), 0, 0.5 / (3 + 1 / LOG3)]),
        ("discounted_gain", {}, [2, 0, 0.5]),
        ("relevance", {"wrong_cost": 0.25}, [2, -0.25, 1]),
        ("accuracy", {}, [1, 0, 0]),
    ],
)
def test_other_rewards(reward, arguments, expected):
    env = make(num_envs=1, k=3, reward=reward, reward_kwargs=arguments)
    env.reset(seed=0)
    assert env.unwrapped.position_rewards(np.array([[1, 1, 2]]))[0].tolist() == pytest.approx(expected)
    paid = [float(env.step(np.array([[choice] * 3]))[1][0]) for choice in (1, 1, 2)]
    assert paid == pytest.approx(expected)


def test_only_a_single_rank_is_separable():
    assert make(k=1).unwrapped.reward.enumerable
    assert make(k=1).unwrapped.reward.separable
    assert not make(k=2).unwrapped.reward.separable
    assert not make(k=2, reward="relevance").unwrapped.reward.enumerable


def test_an_own_function_gets_the_ranking():
    def diversity(predictions, targets, mask):
        return (np.sort(predictions, axis=1)[:, 1:] > np.sort(predictions, axis=1)[:, :-1]).sum(1) * 1.0

    env = make(num_envs=1, k=3, reward=diversity)
    env.reset(seed=0)
    assert [float(env.step(np.array([[choice] * 3]))[1][0]) for choice in (1, 0, 2)] == [0, 0, 2]


def test_the_sum_can_be_paid_at_the_end():
    env = make(num_envs=1, k=2, dense=False, reward=DiscountedGain(normalize=False))
    env.reset(seed=0)
    assert [float(env.step(np.array([[choice] * 2]))[1][0]) for choice in (1, 2)] == pytest.approx([0, 2 + 1 / LOG3])


# ---------------------------------------------------------------------- metrics and baselines


def test_metrics_are_those_computed_by_hand():
    popular = [{**RECORDS[0], "popularity": [9, 1, 5, 5]}, {**RECORDS[1], "popularity": [1, 2]}]
    env = make(popular, k=3)
    found = played(env, [[0, 1, 3], [1, 0]]).metrics
    assert found["ndcg"] == pytest.approx(((2 / LOG3) / (2 + 1 / LOG3) + 1) / 2)
    assert found["hit_rate"] == 1.0
    assert found["mrr_at_k"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["coverage"] == pytest.approx(2 / 5)  # "x y" and "z" of x y, z, x, e, y
    assert found["popularity_bias"] == pytest.approx((3.5 / 4 + 1.5 / 2 - 1) / 2 * 2)
    missed = played(env, [[0, 3, 0], [1, 1]]).metrics
    assert missed["hit_rate"] == 0.5
    assert "popularity_bias" not in played(make(k=3), [[0, 1, 3], [1, 0]]).metrics


def test_logged_clicks_are_weighed_by_their_propensities():
    clicks, seen = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 0.5, 0.25]])
    weights = np.array([[0.5, 1.0, 0.0]])
    assert clicked(clicks, seen, weights) == pytest.approx((1.5 / 2, 0.5 + 2.0, 2.5 / 3))
    assert np.isnan(clicked(np.zeros((1, 3)), seen, weights).snips)
    logged = [{**RECORDS[0], "clicks": [1, 0, 1, 0], "propensity": [1, 0.5, 0.25, 0.2]}]
    found = played(make(logged, num_envs=1, k=2), [[2, 0]]).metrics
    assert found["naive_clicks"] == pytest.approx((1 + 1 / LOG3) / 2)
    assert found["ips_clicks"] == pytest.approx(4 + 1 / LOG3)
    assert found["snips_clicks"] == pytest.approx((4 + 1 / LOG3) / 5)
    assert "ips_clicks" not in played(make(num_envs=1, k=2), [[2, 0], [0, 1]]).metrics


def test_weighed_clicks_undo_the_bias_of_places(makers):
    users = [makers["train"].user() for _ in range(3_000)]
    relevance = np.array([user["relevance"] for user in users])
    clicks, seen = (np.array([user[name] for user in users], float) for name in ("clicks", "propensity"))
    wanted = np.array([0.1, 0.5, 0.9])[relevance]  # the probability of a click on an item that is looked at
    weights = np.tile(discounts(5), (len(users), 1))  # the ranking that the user saw
    truth = (wanted * weights).sum() / wanted.sum()
    estimated = clicked(clicks, seen, weights)
    assert estimated.naive > truth + 0.08
    assert estimated.snips == pytest.approx(truth, abs=0.02)


def test_baselines_rank_by_their_scores():
    words = [
        {"liked": "a b", "candidates": ["x", "a b c", "a y"], "relevance": [1, 0, 0]},
        {"liked": "c", "candidates": ["y", "c d", "x"], "relevance": [1, 0, 2]},
    ]
    env = make(words, k=3)
    found = {row.name: evaluate(row.make(env.unwrapped.task), env.unwrapped) for row in Recommendation.baselines}
    assert found["bm25"].choices.tolist() == [1, 2, 0, 1, 0, 2]
    assert found["popularity"].choices.tolist() == [0, 1, 2, 2, 0, 1]  # x was relevant twice, y once
    for ranking in found["random"].choices.reshape(2, 3):
        assert sorted(ranking) == [0, 1, 2]
    given = [{**row, "popularity": [0, 5, 9]} for row in words]
    env = make(given, k=3)
    popular = {row.name: row for row in Recommendation.baselines}["popularity"]
    assert evaluate(popular.make(env.unwrapped.task), env.unwrapped).choices.tolist() == [2, 1, 0] * 2


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"candidates": [], "relevance": []}, {}, "list of candidates is empty|candidates"),
        ({"candidates": ["x", "x"], "relevance": [1, 0]}, {}, "two candidates are the same"),
        ({"relevance": [0, 1]}, {}, "2 numbers|relevance"),
        ({"relevance": [0, -1, 1, 0]}, {}, "relevance -1"),
        ({"relevance": [0, 0, 0, 0]}, {}, "no candidate is relevant"),
        ({"relevance": None}, {}, "has no relevance"),
        ({"popularity": [1]}, {}, "popularity"),
        ({"propensity": [1, 0, 1, 1]}, {}, "propensity 0: give a probability above 0"),
        ({"clicks": [1, 0, -1, 1]}, {}, "clicks -1"),
        ({}, {"k": 0}, "k"),
        ({}, {"max_length": 16}, r"4 candidates need 9 .*do not fit \('"),
    ],
)
def test_bad_input_is_refused(change, options, message):
    record = {name: value for name, value in {**RECORDS[0], **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        make([record], num_envs=1, **options)


def test_a_slate_shorter_than_k_is_ranked_whole():
    env = make(k=9)
    assert env.unwrapped.task.shape.positions == 4
    assert env.unwrapped.task.encoded.counts.tolist() == [4, 2]


# ---------------------------------------------------------------------- agents


def test_a_policy_ranks_no_item_twice():
    env = make(k=4)
    task = env.unwrapped.task
    arguments = {**task.policy_arguments, **small(env)}
    policy = LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 1e-3, **arguments)
    first, second = np.split(evaluate(policy, env.unwrapped).choices, [4])
    assert sorted(first.tolist()) == [0, 1, 2, 3]
    assert sorted(second.tolist()) == [0, 1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns(algorithm, tmp_path):
    kind = ALGORITHMS[algorithm]
    options = Recommendation.Options(k=2)
    if kind.family == "supervised":
        arguments = {**kind.env_arguments, "k": Recommendation.learned_from(options).k}
    else:
        explored = Recommendation.explored_in(options) if kind.family == "policy gradient" else {}
        arguments = {**kind.env_arguments, **explored, "k": 2}
    env = make(num_envs=4 * kind.env_arguments.get("group_size", 1), **arguments)
    shown = make(k=2, actions=arguments.get("actions", "token"))
    more = {"n_steps": 2} if algorithm == "ppo" else {}
    model = kind("LMPolicy", env, policy_kwargs=small(env), seed=0, **more)
    model.learn(8)
    assert evaluate(model.policy, shown).metrics.keys() >= {"ndcg", "hit_rate", "mrr_at_k", "coverage"}


# ---------------------------------------------------------------------- builtin users


def test_splits_share_no_item(makers):
    items = {split: {item.text for own in maker._items.values() for item in own} for split, maker in makers.items()}
    assert not items["train"] & items["test"]
    assert not items["train"] & items["validation"]
    assert not items["validation"] & items["test"]
    assert sum(map(len, items.values())) >= 1_500


def test_users_like_themes_and_popular_items_come_first(makers):
    users = [makers["validation"].user() for _ in range(200)]
    for user in users:
        assert len(user["candidates"]) == len(user["relevance"]) == len(user["clicks"]) == len(user["popularity"]) == 5
        assert max(user["relevance"]) > 0
        assert max(user["clicks"]) == 1
        assert not {user["liked"], *user["history"]} & {*user["candidates"]}
    views = np.array([user["popularity"] for user in users], float)
    clicks = np.array([user["clicks"] for user in users])
    assert views[:, 0].mean() > 1.5 * views[:, -1].mean()
    assert clicks[:, 0].mean() > 1.5 * clicks[:, -1].mean()
    relevant = np.array([user["relevance"] for user in users]) > 0
    assert clicks[relevant].mean() > 2 * clicks[~relevant].mean()


def test_the_users_are_unchanged(makers):
    users = [UserMaker(split).user() for split in SPLITS]
    assert hashlib.sha256(json.dumps(users).encode()).hexdigest() == USERS_SHA256
    assert SIZES == {"train": 6_000, "validation": 500, "test": 500}


def test_classical_baselines_are_far_from_the_best_ranking():
    env = gymnasium.make_vec(ID, num_envs=50, unit="sequence", split="test")
    found = baselines(env.unwrapped)
    assert found["random"]["ndcg"] < found["bm25"]["ndcg"] < 0.75
    assert found["popularity"]["ndcg"] < 0.65
    assert lm_gym.TASKS["recommendation"] is Recommendation
