"""Rewards as likelihoods, with samples and with every choice, in closed form on three tokens."""

import gymnasium
import numpy as np
import pytest
import torch as th
from torch.nn import functional

from lm_gym.agents.algorithms.all_choices import AllRewards, all_choices_loss
from lm_gym.agents.algorithms.behaviours import Samples, draw, weights_of_distinct
from lm_gym.agents.algorithms.estimators import coefficients, dead_positions, likelihoods
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.agents.model.packed import draw_rows
from lm_gym.data import load_dataset
from lm_gym.rewards import Choices, LogLikelihood
from tests.small import small

POLICY = th.tensor([0.7, 0.2, 0.1])
NOISE = th.tensor([0.6, 0.2, 0.2])  # u
LOGITS = th.tensor([[0.5, -0.3, 0.1, -1.0], [-0.2, 0.4, 0.0, 1.1], [2.0, 0.0, 1.0, -3.0]])


@pytest.fixture(autouse=True)
def own_randomness():
    with th.random.fork_rng():
        th.manual_seed(0)
        yield


def rewards_of(targets, epsilon=0.3):
    """Return log p(target | a) for every token a at positions with these targets."""
    targets = th.as_tensor(targets)
    noise = (epsilon * NOISE)[targets]
    return AllRewards(targets, (1 - epsilon + noise).log(), noise.log()[:, None])


def channel(targets, epsilon=0.3):
    """Return p(target | a) for the three tokens a: [3], or [targets, 3] for several targets."""
    targets = th.as_tensor(targets)
    return epsilon * NOISE[targets][..., None] + (1 - epsilon) * th.eye(3)[targets]


def climb(targets, advantage, epsilon=0.3, steps=400, rate=2.0):
    """Return the policy at which exact ascent ends, for one context with the given targets."""
    logits = th.zeros(3, requires_grad=True)
    for _ in range(steps):
        log_probs = logits.log_softmax(-1).expand(len(targets), 3)
        rewards = rewards_of(targets, epsilon)
        loss, _ = all_choices_loss(log_probs, rewards, advantage, log_scale=advantage != "plain")
        logits = (logits - rate * th.autograd.grad(loss, logits)[0]).detach().requires_grad_()
    return logits.softmax(-1).detach()


def test_the_optimum_of_the_likelihood_is_a_distribution_and_of_the_plain_expectation_one_token():
    targets = [0] * 5 + [1] * 3 + [2] * 2
    pi = climb(targets, "maximum_likelihood")
    frequency = th.tensor([0.5, 0.3, 0.2])
    likelihood = channel([0, 1, 2])  # [target, token]
    gradient = (frequency / (likelihood @ pi)) @ likelihood  # of Σ_x p_x log E_π[p(x | a)], in π
    assert gradient.tolist() == pytest.approx([float(gradient[0])] * 3, rel=1e-3), "no optimum on the simplex"
    assert pi.tolist() == pytest.approx(((frequency - 0.3 * NOISE) / 0.7).tolist(), abs=1e-3)  # without the noise
    assert float(climb(targets, "plain")[0]) > 0.95  # and −log π of the others grows without bound


def test_without_noise_the_optimum_is_the_frequency_of_targets():
    pi = climb([0] * 5 + [1] * 3 + [2] * 2, "maximum_likelihood", epsilon=1e-4)
    assert pi.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-3)


# ------------------------------------------------------------------ K samples against the exact gradient


def exact(target=2):
    """Return ∇ log E[R] with respect to the logits, and the probability of each token given the reward."""
    posterior = POLICY * channel(target)
    return posterior / posterior.sum() - POLICY


def moments(samples, target=2):
    """Return mean and total variance of the estimate from K samples, summed over all possible samples."""
    counts = th.cartesian_prod(th.arange(samples + 1), th.arange(samples + 1))
    counts = counts[counts.sum(1) <= samples]
    counts = th.cat([counts, samples - counts.sum(1, keepdim=True)], 1)  # [Q, 3]
    actions = th.stack([th.arange(3).repeat_interleave(row) for row in counts], 1)  # [K, Q]
    multinomial = th.lgamma(th.tensor(samples + 1.0)) - th.lgamma(counts + 1.0).sum(1) + (counts * POLICY.log()).sum(1)
    log_probs = POLICY.log().expand(len(counts), 3)
    drawn = Samples(actions, log_probs.gather(1, actions.T).T, th.full(actions.shape, 1 / samples))
    G = likelihoods(channel(target).log()[actions])
    c = coefficients(G, drawn, baseline="leave_one_out", advantage="maximum_likelihood")
    g = (c[..., None] * (functional.one_hot(actions, 3) - POLICY)).sum(0)  # [Q, 3]
    probability = multinomial.exp()[:, None]
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-4)
    mean = (probability * g).sum(0)
    return mean, float((probability * (g - mean) ** 2).sum())


def test_the_mean_of_k_samples_approaches_the_exact_gradient_and_all_choices_are_it():
    errors, variances = {}, {}
    for samples in (1, 4, 16, 64):
        mean, variances[samples] = moments(samples)
        errors[samples] = float((mean - exact()).norm())
    assert errors[1] == pytest.approx(float(exact().norm()))  # one sample compared with itself: no gradient
    assert errors[16] < errors[4] / 2.5  # a ratio of estimates has a bias of order 1/K
    assert errors[64] < errors[16] / 2.5
    assert errors[4] < errors[1]
    assert variances[1] == pytest.approx(0.0)
    assert variances[64] < variances[16] / 2 < variances[4]
    log_probs = POLICY.log()[None].requires_grad_()
    loss, climbed = all_choices_loss(log_probs.log_softmax(-1), rewards_of([2]), "maximum_likelihood", log_scale=True)
    assert th.allclose(-th.autograd.grad(loss, log_probs)[0][0], exact(), atol=1e-6)
    assert climbed.exp().item() == pytest.approx(float(POLICY @ channel(2)))


def test_a_wider_behaviour_policy_has_less_variance_where_the_target_is_rare():
    copies, pi = 20_000, th.tensor([0.9, 0.09, 0.01])
    log_probs = pi.log().expand(copies, 3)

    def variance(behaviour, **kwargs):
        drawn = draw(log_probs, 2, behaviour, **kwargs)
        c = coefficients((drawn.actions == 2).float(), drawn, baseline="leave_one_out", advantage="plain")
        g = (c[..., None] * (functional.one_hot(drawn.actions, 3) - pi)).sum(0)
        return float(g.var(0).sum())

    assert variance("mixture", exploration=0.5) < variance("policy") / 2
    near = th.tensor([0.05, 0.05, 0.9])  # mixed in, it finds the target more often than a uniform choice does
    assert variance("unigram", exploration=0.5, wider=near) < variance("mixture", exploration=0.5)


def test_dead_positions_are_those_whose_samples_were_all_paid_the_same():
    assert dead_positions(th.tensor([[1.0, 0.0, 0.5], [1.0, 1.0, 0.5]])) == pytest.approx(2 / 3)


# ------------------------------------------------------------------ every choice, against autograd and enumeration


@pytest.mark.parametrize("log_scale", [False, True])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (3, 1)])
@pytest.mark.parametrize("forbidden", [False, True])
def test_gradients_of_every_choice_are_autograds(log_scale, shape, forbidden):
    others = th.rand(shape)
    targets, gold = th.tensor([3, 0, 1]), th.tensor([1.0, 2.0, 0.0])
    dense = others.expand(3, 4).clone().scatter_(1, targets[:, None], gold[:, None])
    for advantage in ("maximum_likelihood", "plain", "normalized", "group_normalized"):
        logits = LOGITS.clone().requires_grad_()
        shown = logits.masked_fill(th.arange(4) == 2, float("-inf")) if forbidden else logits
        log_probs = shown.log_softmax(-1)
        loss, climbed = all_choices_loss(log_probs, AllRewards(targets, gold, others), advantage, log_scale)
        found = th.autograd.grad(loss, logits, retain_graph=True)[0]
        probs = log_probs.exp()
        if advantage == "maximum_likelihood":
            truth = (probs * (dense.exp() if log_scale else dense)).sum(-1).log()
        else:
            mean = (probs * dense).sum(-1)
            variance = (probs * dense**2).sum(-1)
            spread = {
                "plain": th.ones(3),
                "normalized": (variance.mean() - mean.mean() ** 2).sqrt().expand(3),
                "group_normalized": (variance - mean**2).sqrt(),
            }[advantage].detach()
            truth = mean / spread
            assert th.allclose(climbed, mean, atol=1e-5)
        exact = th.autograd.grad(-truth.mean(), logits)[0]
        assert th.allclose(found, exact, atol=1e-4), advantage


def test_choices_drawn_by_inversion_have_the_frequencies_of_the_policy():
    pi = th.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    drawn = draw_rows(pi.log().expand(20_000, 6))
    assert th.allclose(th.bincount(drawn, minlength=6) / 20_000, pi, atol=0.02)
    assert set(drawn.tolist()) == {1, 3, 4}


@pytest.mark.parametrize("shape", [(4,), (3, 1)])
def test_where_no_choice_is_paid_nothing_is_learned(shape):
    logits = LOGITS.clone().requires_grad_()
    nothing = AllRewards(th.tensor([0, 1, 2]), th.tensor([0.0, 1.0, 0.0]), th.zeros(shape))
    loss, _ = all_choices_loss(logits.log_softmax(-1), nothing, "maximum_likelihood", log_scale=False)
    g = th.autograd.grad(loss, logits)[0]
    assert g.isfinite().all()
    assert g[[0, 2]].abs().max() < 1e-6 < g[1].abs().max()


def test_weights_of_different_choices_are_unbiased_but_for_their_normalisation():
    copies = 20_000
    pi = th.tensor([0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    log_probs = pi.log().expand(copies, 7)
    drawn = draw(log_probs, 4, "without_replacement")
    weights = weights_of_distinct(drawn.log_probs)
    assert th.allclose(weights.sum(0), th.ones(copies), atol=1e-4)
    estimate = th.zeros(7).index_add_(0, drawn.actions.flatten(), weights.flatten()) / copies
    assert estimate.tolist() == pytest.approx(pi.tolist(), abs=0.02)
    whole = weights_of_distinct(pi.log()[:, None])
    assert whole[:, 0].tolist() == pytest.approx(pi.tolist(), abs=1e-5)


# ------------------------------------------------------------------ agents


@pytest.fixture(scope="module")
def prose():
    words = ["the", "small", "grey", "cat", "sat", "on", "a", "warm", "stone", "near", "the", "old", "mill"]
    texts = [words[i:] + words[:i] for i in range(len(words))]
    return load_dataset({"train": texts})


def make_env(dataset, **kwargs):
    given = {"unit": "sequence", "autoreset_mode": "SameStep", "max_length": 64, **kwargs}
    return gymnasium.make_vec("lm_gym/MaskedLM-v0", num_envs=4, dataset=dataset, **given)


def build(algorithm, env, **kwargs):
    given = {"learning_rate": 3e-3, "seed": 3, "device": "cpu", "policy_kwargs": small(env), **kwargs}
    return algorithm("LMPolicy", env, **given)


def weights(model):
    return th.cat([p.detach().flatten() for p in model.policy.parameters()])


def test_every_choice_of_a_right_or_wrong_reward_gives_the_twins_updates(prose):
    ours, twin = build(REINFORCE, make_env(prose, reward="accuracy")), build(Supervised, make_env(prose))
    for model in (ours, twin):
        model.learn(60)
    assert ours._n_updates == twin._n_updates > 3
    assert th.allclose(weights(ours), weights(twin), atol=1e-4)


@pytest.mark.parametrize("reward", ["accuracy", "log_likelihood", {"accuracy": 0.5, "balanced_accuracy": 1.0}], ids=str)
def test_what_a_reward_tells_is_what_it_pays_when_asked_for_every_choice(prose, reward):
    """A reward given as a function is evaluated for each token of the vocabulary; the gradient is the same."""
    env = make_env(prose, reward=reward)
    bound = env.reward

    def asked(choices, targets, mask):
        return bound.score(choices[None], targets)[0]

    asked.separable, asked.minimum, asked.log_scale = True, bound.minimum, bound.log_scale
    asking = make_env(prose, reward=asked)
    first, second = (build(REINFORCE, made, samples="all") for made in (env, asking))
    assert second._plan(second._texts(second.env)).samples == env.task.shape.choices
    for model in (first, second):
        model.learn(1)
    assert first._n_updates == second._n_updates == 1
    assert th.allclose(weights(first), weights(second), atol=1e-4)


def test_a_reference_tells_what_every_choice_pays():
    log_u = np.log(np.full((1, 2, 3), 1 / 3, np.float32))
    reward = LogLikelihood(0.2, reference=lambda _: log_u).bind(Choices(3, range(3), np.ones(3, np.int64)))
    assert reward.enumerable
    with pytest.raises(ValueError, match="not enumerable"):
        reward.choice_rewards(np.zeros((1, 2), np.int64))


@pytest.mark.parametrize("env", [{}, {"unit": "token", "fill": "sequential"}], ids=str)
def test_log_likelihood_is_learned_by_default(prose, env):
    """This holds if texts are decided at once and if decisions are filled in."""
    model = build(REINFORCE, make_env(prose, **env), learning_rate=1e-2)
    before = evaluate(model.policy, make_env(prose)).metrics["perplexity"]
    model.learn(250)
    assert evaluate(model.policy, make_env(prose)).metrics["perplexity"] < before / 4


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        ({}, {"samples": "every"}, "'every'"),
        ({}, {"samples": "all", "behaviour": "unigram"}, "draws nothing"),
        ({"dense": False}, {"samples": "all"}, "ties positions together"),
        ({}, {"samples": 1, "advantage": "group_normalized"}, "needs samples >= 2"),
        ({}, {"samples": 1}, "a single sample"),
        ({}, {"samples": 4, "advantage": "maximum_likelihood", "baseline": "value"}, "would be ignored"),
        ({"unit": "token"}, {"samples": 4, "advantage": "group_normalized"}, "unit='sequence'"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_refused(prose, env, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(REINFORCE, make_env(prose, **env), **kwargs)
