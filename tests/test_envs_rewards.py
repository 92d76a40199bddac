"""Rewards of the environments: functions, distributions, sums of terms, a reference model."""

import numpy as np
import pytest

import lm_gym
from tests.tagged import IDS, MASKED, playable, single, vector


def test_a_function_pays():
    made = vector(unit="sequence", reward=lambda given, gold, mask: ((given == gold) & mask).sum(-1))
    made.reset(seed=1)
    gold = playable(made.targets, made.task.shape.choices)
    counts = (made.targets < made.task.shape.choices).sum(1)
    assert (made.step(gold)[1] == counts).all()


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_distributions_are_normalised(id_, scale):
    """The log score ignores a constant added to all logits, and its mean is the negative cross-entropy."""
    made = vector(id_, unit="sequence", actions="distribution", reward="log_likelihood")
    made.reset(seed=3)
    rng = np.random.default_rng(0)
    scores = scale * rng.normal(size=made.action_space.shape).astype(np.float32)
    inside = made.targets < made.task.shape.choices
    gold = playable(made.targets, made.task.shape.choices)
    exact = scores - np.logaddexp.reduce(scores.astype(np.float64), axis=-1, keepdims=True)
    expected = np.where(inside, np.take_along_axis(exact, gold[..., None], -1)[..., 0], 0)
    np.testing.assert_allclose(made.position_rewards(scores), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made.position_rewards(scores + 7), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("reward", ["log_likelihood", "accuracy", "f1", {"f1": 1.0, "log_likelihood": 0.1}])
def test_distributions_may_be_given_by_their_choice_and_the_gold_log_probability(reward):
    env = vector(unit="sequence", actions="distribution", reward=reward)
    env.reset(seed=3)
    scores = np.random.default_rng(0).normal(size=(5, *env.targets.shape, 9))
    log_probs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    gold = np.take_along_axis(log_probs, playable(env.targets, 9)[None, ..., None], -1)[..., 0]
    expected = env.position_rewards(scores)
    np.testing.assert_allclose(env.position_rewards(scores.argmax(-1), gold), expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(expected.sum((1, 2))) > 0


@pytest.mark.parametrize(
    ("actions", "shape", "value", "message"),
    [
        ("token", (4, 14), -1.0, "leave them out"),
        ("distribution", (4, 13), -1.0, "one for each"),
        ("distribution", (4, 14), 0.5, "at most 0"),
        ("distribution", (4, 14), np.nan, "finite"),
    ],
)
def test_bad_gold_log_probabilities(actions, shape, value, message):
    env = vector(unit="sequence", actions=actions)
    env.reset(seed=0)
    assert env.targets.shape == (4, 14)
    with pytest.raises(ValueError, match=message):
        env.position_rewards(np.zeros((4, 14), np.int64), np.full(shape, value))


def test_distributions_decide_by_their_most_likely_choice():
    made = vector(actions="distribution", reward="accuracy")
    made.reset(seed=3)
    scores = np.zeros((4, made.task.shape.choices), np.float32)
    scores[range(4), made.targets[:, 0]] = 1
    observation, rewards, *_ = made.step(scores)
    assert (rewards == 1).all()
    assert (observation["predictions"][:, 0] == made.targets[:, 0]).all()


def test_terms_of_a_sum_are_reported():
    made = vector(unit="sequence", reward={"f1": 1.0, "accuracy": 0.5}, dense=False)
    made.reset(seed=1)
    actions = made.action_space.sample()
    terms = made.reward_terms(actions)
    paid = made.position_rewards(actions)
    np.testing.assert_allclose((terms["f1"] + 0.5 * terms["accuracy"]).sum(1), paid.sum(1), atol=1e-5)
    info = made.step(actions)[4]
    assert (info["reward_terms"]["accuracy"] == terms["accuracy"]).all()
    alone = single(unit="sequence", reward={"f1": 1.0, "accuracy": 0.5})
    alone.reset(seed=0)
    assert set(alone.step(alone.action_space.sample())[4]["reward_terms"]) == {"f1", "accuracy"}


@pytest.mark.parametrize("unit", ["token", "sequence"])
def test_a_reference_model_sees_texts_as_they_were_opened(unit):
    seen = []

    def reference(observation):
        seen.append(observation)
        return np.full((*observation["positions"].shape, 4096), -np.log(4096))

    options = {"fill": "sequential"} if unit == "token" else {}
    made = vector(MASKED, unit=unit, reward=lm_gym.rewards.LogLikelihood(0.2, reference), **options)
    first, _ = made.reset(seed=0)
    wrong = (made.targets + 1) % 4096
    rewards = made.step(wrong[:, 0] if unit == "token" else wrong)[1]
    counts = first["position_mask"].sum(1) if unit == "sequence" else 1
    np.testing.assert_allclose(rewards, counts * np.log(0.2 / 4096), rtol=1e-5)
    assert len(seen) == 1
    for key, leaf in seen[0].items():
        assert (leaf == first[key]).all()
    assert made.task.shape.choices == 4096
