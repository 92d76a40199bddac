"""Estimators against hand-computed numbers, and against true gradients found by enumeration."""

import numpy as np
import pytest
import torch as th

from lm_gym.agents.algorithms.behaviours import Samples, draw
from lm_gym.agents.algorithms.estimators import (
    check_estimator,
    coefficients,
    counterfactual_returns,
    gradient_variance,
    greedy_returns,
    kl_divergence,
    leave_one_out,
    returns_to_go,
)

COPIES = 100_000
LOGITS = th.tensor([[0.5, -0.3, 0.1, -1.0], [-0.2, 0.4, 0.0, 1.1]])  # two positions, four choices


@pytest.fixture(autouse=True)
def own_randomness():
    with th.random.fork_rng():
        th.manual_seed(0)
        yield


def fixed(G, weights=None, probability=0.5):
    """Make samples whose coefficients depend only on `weights`."""
    weights = th.full_like(G, 1 / len(G)) if weights is None else weights
    return Samples(th.zeros_like(G, dtype=th.int64), th.full_like(G, probability).log(), weights)


def test_returns_to_go_by_hand():
    r_t = th.tensor([1.0, 2.0, 4.0, 0.0])
    assert returns_to_go(r_t, 0.0).tolist() == [1, 2, 4, 0]
    assert returns_to_go(r_t, 1.0).tolist() == [7, 6, 4, 0]
    assert returns_to_go(r_t, 0.5).tolist() == [3, 4, 4, 0]


def test_leave_one_out_is_the_mean_of_the_others():
    G = th.tensor([[1.0], [2.0], [6.0]])
    assert leave_one_out(G, th.full_like(G, 1 / 3)).flatten().tolist() == pytest.approx([4.0, 3.5, 1.5])


def test_coefficients_by_hand():
    G = th.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    plain = coefficients(G, fixed(G), baseline="leave_one_out", advantage="plain")
    assert plain[:, 0].tolist() == pytest.approx([(1 - 1 / 3) / 4, -(2 / 3) / 4, (1 - 1 / 3) / 4, -(2 / 3) / 4])
    none = coefficients(G, fixed(G), baseline="none", advantage="plain", expected=0.0)
    assert none[:, 0].tolist() == [0.25, 0, 0.25, 0]
    value = coefficients(G, fixed(G), baseline="value", advantage="plain", expected=th.tensor([0.5, 0.1]))
    assert value[:, 1].tolist() == pytest.approx([-0.025] * 4)
    ml = coefficients(G, fixed(G), baseline="leave_one_out", advantage="maximum_likelihood")
    assert ml[:, 0].tolist() == pytest.approx([0.25, -0.25, 0.25, -0.25])
    assert ml[:, 1].tolist() == pytest.approx([-0.25] * 4)  # every sample failed, so all become less likely
    normalized = coefficients(G, fixed(G), baseline="none", advantage="normalized") * 4
    assert float(normalized.mean()) == pytest.approx(0, abs=1e-6)
    assert float(normalized.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_gradient_variance_by_hand():
    log_probs = th.tensor([[0.5, 0.5]]).log()
    drawn = Samples(th.tensor([[0], [1]]), log_probs.T, th.tensor([[0.5], [0.5]]))
    # g_1 = 2·c_1·(0.5, −0.5) = (0.5, −0.5) for c = ½; g_2 = 0: mean (0.25, −0.25); Σ|g−ḡ|² = 0.25; over K(K−1) = 2
    assert gradient_variance(th.tensor([[0.5], [0.0]]), drawn, log_probs) == pytest.approx(0.125)


def test_kl_divergence_by_hand():
    p, q = th.tensor([[0.5, 0.5]]).log(), th.tensor([[0.25, 0.75]]).log()
    assert kl_divergence(p, q).tolist() == pytest.approx([0.5 * th.tensor(4 / 3).log().item()])


def pair_rewards(actions):  # [K, N, 2] -> [K, N, 2]: the second position pays only if the first was choice 0
    first, second = actions.unbind(-1)
    return th.stack([(first == 0) * 0.5, ((second == 3) & (first == 0)) * 1.0 + (second == 1) * 0.3], -1)


def true_gradient():
    logits = LOGITS.clone().requires_grad_()
    pi = logits.softmax(-1)
    actions = th.cartesian_prod(th.arange(4), th.arange(4))
    joint = pi[0][actions[:, 0]] * pi[1][actions[:, 1]]
    value = (joint * pair_rewards(actions[None])[0].sum(-1)).sum()
    return th.autograd.grad(value, logits)[0]


def estimates(samples, **kwargs):
    """Return the gradient estimates of all copies, [COPIES, 2, 4], from the library's own functions."""
    log_probs = LOGITS.log_softmax(-1).repeat(COPIES, 1)
    drawn = draw(log_probs, samples)
    G = returns_to_go(pair_rewards(drawn.actions.view(samples, COPIES, 2)), 1.0).view(samples, -1)
    c = coefficients(G, drawn, **kwargs)
    one_hot = th.nn.functional.one_hot(drawn.actions, 4)
    return (c[..., None] * (one_hot - log_probs.exp())).sum(0).view(COPIES, 2, 4)


def assert_unbiased(g, truth):
    error = (g.mean(0) - truth).abs()
    standard_error = g.std(0) / COPIES**0.5
    assert bool((error < 5 * standard_error + 1e-6).all()), (error / standard_error).max()


@pytest.mark.parametrize("baseline", ["none", "moving_average", "value", "leave_one_out"])
def test_plain_estimators_are_unbiased(baseline):
    expected = 0.4 if baseline in ("moving_average", "value") else 0.0
    g = estimates(4, baseline=baseline, advantage="plain", expected=expected)
    assert_unbiased(g, true_gradient())


def ask(actions):
    return pair_rewards(th.as_tensor(actions)).numpy()


@pytest.mark.parametrize("returns", [greedy_returns, counterfactual_returns])
def test_baselines_of_the_most_probable_choices_are_unbiased(returns):
    log_probs = LOGITS.log_softmax(-1).repeat(COPIES, 1)
    drawn = draw(log_probs, 4)
    actions = drawn.actions.view(4, COPIES, 2)
    greedy = LOGITS.argmax(-1).repeat(COPIES, 1)
    expected = returns(ask, actions.numpy(), greedy.numpy(), 1.0).expand(4, -1, -1).reshape(4, -1)
    G = returns_to_go(pair_rewards(actions), 1.0).view(4, -1)
    c = coefficients(G, drawn, baseline="greedy", advantage="plain", expected=expected)
    g = (c[..., None] * (th.nn.functional.one_hot(drawn.actions, 4) - log_probs.exp())).sum(0).view(COPIES, 2, 4)
    assert_unbiased(g, true_gradient())


def test_counterfactual_returns_by_hand():
    actions, greedy = np.array([[[0, 3]]]), np.array([[1, 1]])  # greedy pays 0 and 0.3
    assert greedy_returns(ask, actions, greedy, 1.0).tolist() == [[[pytest.approx(0.3), pytest.approx(0.3)]]]
    found = counterfactual_returns(ask, actions, greedy, 1.0)  # (1, 3) pays 0 + 0; (0, 1) pays 0.3 from there
    assert found.tolist() == [[[pytest.approx(0.0), pytest.approx(0.3)]]]


def test_group_baselines_by_hand():
    G = th.tensor([[1.0], [2.0], [6.0]])
    mean = coefficients(G, fixed(G), baseline="group_mean", advantage="plain") * 3
    assert mean.flatten().tolist() == pytest.approx([-2, -1, 3])  # leave-one-out times 2/3
    found = coefficients(G, fixed(G), baseline="leave_one_out", advantage="group_normalized") * 3
    assert found.flatten().tolist() == pytest.approx([-2 / (14 / 3) ** 0.5, -1 / (14 / 3) ** 0.5, 3 / (14 / 3) ** 0.5])
    same = th.ones(3, 1)
    assert coefficients(same, fixed(same), baseline="leave_one_out", advantage="group_normalized").abs().max() < 1e-6


@pytest.mark.parametrize("behaviour", ["mixture", "unigram", "reference", "without_replacement"])
@pytest.mark.parametrize("baseline", ["none", "leave_one_out"])
@pytest.mark.parametrize("samples", [2, 3, 4])
def test_wider_behaviour_is_unbiased_for_separable_rewards(behaviour, baseline, samples):
    log_probs = LOGITS.log_softmax(-1).repeat(COPIES, 1)
    wider = {"unigram": th.tensor([5.0, 1.0, 0.0, 3.0]), "reference": LOGITS.flip(0).exp().repeat(COPIES, 1)}
    drawn = draw(log_probs, samples, behaviour, 0.4, wider.get(behaviour))
    target = th.tensor([2, 0]).repeat(COPIES)
    G = (drawn.actions == target).float() + 0.3 * (drawn.actions == 1)
    c = coefficients(G, drawn, baseline=baseline, advantage="plain")
    one_hot = th.nn.functional.one_hot(drawn.actions, 4)
    g = (c[..., None] * (one_hot - log_probs.exp())).sum(0).view(COPIES, 2, 4)
    logits = LOGITS.clone().requires_grad_()
    pi = logits.softmax(-1)
    value = pi[0, 2] + 0.3 * pi[0, 1] + pi[1, 0] + 0.3 * pi[1, 1]
    assert_unbiased(g, th.autograd.grad(value, logits)[0])


@pytest.mark.parametrize("samples", [1, 2, 4, 8])
def test_maximum_likelihood_is_unbiased_for_the_truncated_logarithm(samples):
    log_probs = LOGITS.log_softmax(-1).repeat(COPIES, 1)
    drawn = draw(log_probs, samples)
    G = (drawn.actions == th.tensor([3, 0]).repeat(COPIES)).float()
    c = coefficients(G, drawn, baseline="leave_one_out", advantage="maximum_likelihood")
    one_hot = th.nn.functional.one_hot(drawn.actions, 4)
    g = (c[..., None] * (one_hot - log_probs.exp())).sum(0).view(COPIES, 2, 4)
    logits = LOGITS.clone().requires_grad_()
    p = logits.softmax(-1)[[0, 1], [3, 0]]
    value = -sum(((1 - p) ** k / k).sum() for k in range(1, samples + 1))
    assert_unbiased(g, th.autograd.grad(value, logits)[0])


def test_enumerating_all_choices_gives_the_exact_gradient_of_log_likelihood():
    logits = LOGITS.clone().requires_grad_()
    drawn = draw(logits.log_softmax(-1), 16, "without_replacement")
    G = (drawn.actions == th.tensor([3, 0])).float()
    c = coefficients(G, drawn, baseline="leave_one_out", advantage="maximum_likelihood")
    estimate = th.autograd.grad((c * drawn.log_probs).sum(), logits)[0]
    exact = th.autograd.grad(logits.log_softmax(-1)[[0, 1], [3, 0]].sum(), logits)[0]
    assert th.allclose(estimate, exact, atol=1e-5)


def test_order_of_variances():
    """The variance grows from the true value to the leave-one-out mean, a constant and no baseline."""

    def variance(samples, baseline, expected=0.0, whole_returns=False):
        log_probs = LOGITS.log_softmax(-1).repeat(COPIES, 1)
        drawn = draw(log_probs, samples)
        rewards = pair_rewards(drawn.actions.view(samples, COPIES, 2)) + 1.0  # a reward far from zero
        G = returns_to_go(rewards, 1.0)
        if whole_returns:
            G = G[..., :1].expand_as(G)
        c = coefficients(G.reshape(samples, -1), drawn, baseline=baseline, advantage="plain", expected=expected)
        one_hot = th.nn.functional.one_hot(drawn.actions, 4)
        g = (c[..., None] * (one_hot - log_probs.exp())).sum(0).view(COPIES, 2, 4)
        return float(g.var(0).sum())

    value = true_values().repeat(COPIES)
    constant = float(true_values().mean())
    order = [
        variance(4, "value", expected=value),
        variance(4, "leave_one_out"),
        variance(4, "moving_average", expected=constant),
        variance(4, "none"),
        variance(4, "none", whole_returns=True),
    ]
    assert order == sorted(order), order
    assert variance(1, "none") == pytest.approx(4 * order[3], rel=0.05)
    assert variance(16, "leave_one_out") < order[1] / 4  # more samples give a better baseline


def true_values():
    """Return E[G_t] of the two positions, with rewards raised by 1."""
    pi = LOGITS.softmax(-1)
    second = pi[0, 0] * pi[1, 3] + 0.3 * pi[1, 1] + 1.0
    return th.stack([0.5 * pi[0, 0] + 1.0 + second, second])


@pytest.mark.parametrize("behaviour", ["policy", "mixture", "unigram", "without_replacement"])
def test_forbidden_choices_are_never_drawn(behaviour):
    log_probs = th.tensor([[0.2, float("-inf"), 0.8]]).log_softmax(-1).repeat(1000, 1)
    drawn = draw(log_probs, 2, behaviour, 0.5, th.tensor([1.0, 5.0, 1.0]) if behaviour == "unigram" else None)
    assert not bool((drawn.actions == 1).any())
    assert bool(drawn.weights.isfinite().all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("leave_on_out", "plain", "policy", 4), "leave_one_out"),
        (("none", "plane", "policy", 4), "plain, normalized"),
        (("none", "plain", "polcy", 4), "without_replacement"),
        (("leave_one_out", "plain", "policy", 1), "samples >= 2"),
        (("none", "plain", "policy", 0), "at least 1"),
    ],
)
def test_bad_estimators_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_estimator(*arguments)
