"""Rewards against hand-computed numbers, seqeval, and each other."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score

from lm_gym.rewards import (
    REWARDS,
    Accuracy,
    AtTheEnd,
    Board,
    Choices,
    Decision,
    EntityF1,
    LogLikelihood,
    Reward,
    bind_reward,
    make_reward,
)

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
N = len(TAGS)
CHOICES = Choices(N, TAGS, np.array([60, 20, 10, 10, 0]))
PAD = N


def bind(spec, distribution=False, **arguments) -> Reward:
    return make_reward(spec, arguments).bind(CHOICES._replace(distribution=distribution))


def follow(reward: Reward, predictions, targets, log_probs=None):
    """Return the rewards [N, T] of texts that are decided position by position."""
    targets, counts = np.asarray(targets), (np.asarray(targets) < N).sum(-1)
    made = np.full(targets.shape, PAD)
    track = reward.track(Board(targets, made, counts, lambda rows: {}))
    rows = np.arange(len(targets))
    track.enter(rows)
    paid = np.zeros(targets.shape)
    for t in range(counts.max()):
        here = t < counts
        chosen = np.where(here, predictions[:, t], 0)
        made[here, t] = chosen[here]
        gold = np.where(here, targets[:, t], 0)
        probs = None if log_probs is None else log_probs[:, t]
        paid[:, t] = np.where(here, track.pay(Decision(chosen, gold, probs, np.full(len(rows), t), counts == t + 1)), 0)
    return paid


def random_texts(seed, num_texts=7, width=9):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, width + 1, num_texts)
    targets = np.where(np.arange(width) < counts[:, None], rng.integers(0, N, (num_texts, width)), PAD)
    return rng.integers(0, N, (num_texts, width)), targets


OF_CHOICES = [name for name in REWARDS if make_reward(name).gold != {"rule"}]  # a rule reads whole texts


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("spec", [*OF_CHOICES, "two terms", "function of texts", "function of positions"])
def test_whole_texts_and_positions_one_by_one_agree(spec, dense):
    def of_texts(predictions, targets, mask):
        return ((predictions == targets) & mask).sum(-1) ** 2.0

    def of_positions(predictions, targets, mask):
        return np.cumsum((predictions == targets) & mask, axis=-1)

    named = {
        "two terms": {"f1": 2.0, "accuracy": 0.5},
        "function of texts": of_texts,
        "function of positions": of_positions,
    }
    reward = make_reward(named.get(spec, spec))
    reward = (reward if dense else AtTheEnd(reward)).bind(CHOICES)
    predictions, targets = random_texts(3)
    whole = reward.score(predictions, targets)
    assert whole.dtype == np.float32
    assert whole.shape == targets.shape
    assert (whole[targets == PAD] == 0).all()
    np.testing.assert_allclose(whole, follow(reward, predictions, targets), atol=1e-6)
    assert (whole >= reward.minimum - 1e-6).all()
    assert (whole.sum(-1) >= reward.total_minimum - 1e-6).all()
    samples = np.stack([predictions, predictions[:, ::-1], targets % N])
    each = np.stack([reward.score(sample, targets) for sample in samples])
    np.testing.assert_allclose(reward.score(samples, targets), each, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), min_size=1, max_size=14))
def test_f1_rewards_sum_to_seqeval(pairs):
    predicted, gold = np.array(pairs).T
    total = bind("f1").score(predicted[None], gold[None]).sum()
    names = [[TAGS[tag] for tag in tags] for tags in (gold, predicted)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = f1_score([names[0]], [names[1]])
    entities = any(tag != "O" for tags in names for tag in tags)
    assert total == pytest.approx(expected if entities else 1.0, abs=1e-6)


def test_f1_by_hand():
    gold = np.array([[1, 2, 0, 3, PAD]])  # LOC LOC O PER: two entities
    right = bind("f1").score(gold.copy(), gold)
    # LOC closes at O: 2·1/(1 + 2); PER closes with the text: 2·2/(2 + 2)
    np.testing.assert_allclose(right, [[0, 0, 2 / 3, 1 / 3, 0]], atol=1e-6)
    # an extra PER at O costs: then 2·1/(2 + 2), and 2·1/(3 + 2) with the wrong type at the end
    np.testing.assert_allclose(bind("f1").score(np.array([[1, 2, 3, 1, 0]]), gold), [[0, 0, 0.5, -0.1, 0]], atol=1e-6)


def test_f1_of_texts_without_entities_is_one():
    gold = np.array([[0, 0, 0]])
    np.testing.assert_allclose(bind("f1").score(np.zeros((1, 3), int), gold), [[1, 0, 0]])
    np.testing.assert_allclose(bind("f1").score(np.array([[0, 1, 0]]), gold), [[1, -1, 0]])


def test_f1_takes_an_entity_with_a_wrong_end_for_wrong():
    gold = np.array([[1, 2, 0]])
    assert bind("f1").score(np.array([[1, 0, 0]]), gold).sum() == 0
    assert bind("f1").score(np.array([[2, 2, 0]]), gold).sum() == 1  # I-LOC begins an entity, as in the CoNLL scorer


def test_f1_refuses_names_that_are_no_tags():
    with pytest.raises(ValueError, match="'bad' is not IOB2"):
        EntityF1().bind(Choices(2, ("bad", "sad"), np.ones(2, np.int64)))


def test_macro_f1_is_the_change_over_a_large_batch():
    """Compared with the macro F1 of a batch in which every choice has F1 0.8, plus one decision."""
    shares, size, f1 = np.array([0.6, 0.3, 0.1]), 1_000_000, 0.8
    counts = (shares * size).astype(np.int64)
    reward = make_reward("macro_f1", {"f1": f1}).bind(Choices(3, "abc", counts))

    def macro(right, made, gold):
        return np.mean(2 * right / (made + gold))

    before = macro(f1 * counts, counts, counts)
    for choice in range(3):
        one = np.eye(3)[choice]
        for is_right, gold in ((1, choice), (0, (choice + 1) % 3)):
            after = macro(f1 * counts + is_right * one, counts + one, counts)
            paid = reward.score(np.array([[choice]]), np.array([[gold]]))[0, 0]
            assert paid == pytest.approx((after - before) * size, rel=1e-3)
    assert reward.minimum == pytest.approx(-0.8 / (2 * 3 * 0.1))
    gold, others = reward.choice_rewards(np.array([[2]]))
    assert (gold[0, 0], others[2]) == pytest.approx((1.2 / 0.6, -0.8 / 0.6))


@pytest.mark.parametrize("spec", ["f1", {"accuracy": 1.0, "f1": 1.0}])
def test_a_reward_that_does_not_understand_the_gold_names_those_that_do(spec):
    plain = Choices(3, range(3), np.ones(3, np.int64), gold=frozenset({"choice"}))
    with pytest.raises(ValueError, match=r"needs gold of kind iob2.* use 'accuracy' or 'balanced_accuracy' or"):
        bind_reward(make_reward(spec), plain)
    tagged = Choices(N, TAGS, np.ones(N, np.int64), gold=frozenset({"choice", "iob2"}))
    assert bind_reward(make_reward(spec), tagged).choices is tagged


def test_accuracy_by_hand():
    gold = np.array([[0, 1, 3, PAD]])
    made = np.array([[0, 1, 0, 0]])
    np.testing.assert_allclose(bind("accuracy").score(made, gold), [[1, 1, 0, 0]])
    given = bind("accuracy", weights={"O": 0.25, "B-LOC": 2})
    np.testing.assert_allclose(given.score(made, gold), [[0.25, 2, 0, 0]])


def test_balanced_weights_have_mean_one_over_the_training_positions():
    reward = bind("balanced_accuracy")
    weights = np.diag(reward.score(np.eye(N, dtype=int) * np.arange(N), np.diag(np.arange(N))))
    counts = CHOICES.target_counts
    np.testing.assert_allclose(weights[:4], 100 / (4 * counts[:4]), rtol=1e-6)
    assert (counts * weights).sum() / counts.sum() == pytest.approx(1)
    assert weights[4] == weights[:4].max()  # not in the training data
    assert reward.name == "balanced_accuracy"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("even", "'balanced'"),
        ({"B-LOCC": 1}, "did you mean 'B-LOC'"),
        ({"O": -1}, "weights.O must be at least 0, got -1"),
        ({"O": np.nan}, "finite"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        Accuracy(weights).bind(CHOICES)


def test_noisy_channel_by_hand():
    reward = bind("log_likelihood", epsilon=0.2)
    u = (CHOICES.target_counts + 1) / 105
    made, gold = np.array([[0, 1, 2]]), np.array([[0, 0, PAD]])
    expected = [[np.log(0.8 + 0.2 * u[0]), np.log(0.2 * u[0]), 0]]
    np.testing.assert_allclose(reward.score(made, gold), expected, rtol=1e-6)
    assert reward.minimum == pytest.approx(np.log(0.2 * u.min()))
    # for any action, the channel is a distribution over the tokens that the text may have
    likelihood = np.exp(reward.score(np.full((N, 1), 3), np.arange(N)[:, None]))
    assert likelihood.sum() == pytest.approx(1, abs=1e-6)


def test_log_score_pays_the_log_probability_of_the_target():
    reward = bind("log_likelihood", distribution=True)
    log_probs = np.array([[-0.5, -3.0, 9.0]])
    np.testing.assert_allclose(reward.score(np.zeros((1, 3), int), np.array([[1, 2, PAD]]), log_probs), [[-0.5, -3, 0]])
    assert reward.minimum == -np.inf


def test_noisy_channel_with_a_reference_asks_it_once_a_text():
    asked = []

    def reference(observation):
        asked.append(observation["row"].tolist())
        scores = np.arange(3 * N, dtype=float).reshape(3, N) + observation["row"][:, None, None]
        return scores - np.log(np.exp(scores).sum(-1, keepdims=True))

    reward = LogLikelihood(0.1, reference).bind(CHOICES)
    targets = np.array([[0, 1, PAD], [2, 3, 4]])
    board = Board(targets, np.full((2, 3), PAD), np.array([2, 3]), lambda rows: {"row": rows})
    track = reward.track(board)
    track.enter(np.array([0, 1]))
    made = np.array([[0, 4, 0], [2, 0, 0]])
    paid = track.score(np.stack([made, made]), None)
    log_u = reference({"row": np.array([0, 1])})
    asked.pop()
    u = np.exp(np.take_along_axis(log_u, np.minimum(targets, N - 1)[..., None], -1)[..., 0])
    expected = np.log(0.9 * (made == targets) + 0.1 * u)
    expected[0, 2] = 0
    np.testing.assert_allclose(paid, [expected, expected], rtol=1e-5)
    one = track.pay(Decision(made[:, 1], targets[:, 1], None, np.array([1, 1]), np.array([True, False])))
    np.testing.assert_allclose(one, expected[:, 1], rtol=1e-5)
    track.enter(np.array([1]))
    track.score(made, None)
    assert asked == [[0, 1], [1]]
    with pytest.raises(ValueError, match="needs the text"):
        reward.score(made, targets)


def test_sum_of_terms():
    reward = make_reward({"accuracy": 2, "f1": -0.5}, {"accuracy": {"weights": "balanced"}}).bind(CHOICES)
    predictions, targets = random_texts(5)
    expected = 2 * bind("balanced_accuracy").score(predictions, targets) - 0.5 * bind("f1").score(predictions, targets)
    np.testing.assert_allclose(reward.score(predictions, targets), expected, atol=1e-6)
    assert reward.term_names == ("accuracy", "f1")
    assert reward.minimum == -np.inf
    assert not reward.separable
    assert make_reward({"accuracy": 2, "f1": 1}).bind(CHOICES).minimum == -1
    assert make_reward({"accuracy": 2, "balanced_accuracy": 1}).bind(CHOICES).separable


def test_the_sum_at_the_end():
    gold = np.array([[0, 1, PAD], [1, 2, 0]])
    paid = AtTheEnd(make_reward("accuracy")).bind(CHOICES).score(np.array([[0, 1, 4], [1, 1, 0]]), gold)
    np.testing.assert_allclose(paid, [[0, 2, 0], [0, 0, 2]])
    assert AtTheEnd(make_reward("f1")).bind(CHOICES).minimum == 0


def test_a_function_sees_choices_targets_and_mask():
    seen = {}

    def reward(predictions, targets, mask):
        seen.update(predictions=predictions, targets=targets, mask=mask)
        return np.where(mask, predictions, 0)

    reward.minimum = 0
    gold = np.array([[3, 1, PAD]])
    bound = make_reward(reward).bind(CHOICES)
    np.testing.assert_allclose(bound.score(np.array([[2, 4, 1]]), gold), [[2, 4, 0]])
    np.testing.assert_array_equal(seen["predictions"], [[2, 4, PAD]])
    np.testing.assert_array_equal(seen["mask"], [[True, True, False]])
    assert (bound.name, bound.minimum) == ("reward", 0)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity"), ("shape", r"returned shape \(5,\)")]
)
def test_a_function_that_gives_rubbish(value, message):
    bound = make_reward(lambda p, t, m: np.zeros(5) if value == "shape" else np.full(len(p), value)).bind(CHOICES)
    with pytest.raises(ValueError, match=message):
        bound.score(np.zeros((2, 3), int), np.zeros((2, 3), int))


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("acuracy", {}, "did you mean 'accuracy'"),
        ("accuracy", {"weight": 1}, "does not accept"),
        ({"f2": 1}, {}, "did you mean 'f1'"),
        ({"f1": np.inf}, {}, "finite"),
        ({}, {}, "empty"),
        ({"f1": 1}, {"accuracy": {}}, "not part of the reward"),
        (len, {"a": 1}, "directly"),
        (3, {}, "must be a name"),
        ("log_likelihood", {"epsilon": 0}, "reward_kwargs.epsilon must be in"),
    ],
)
def test_bad_descriptions(spec, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_reward(spec, arguments)
