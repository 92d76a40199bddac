"""REINFORCE and its twin learn: the terms of the loss, learning rates, other environments."""

import gymnasium
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy

from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.schedules import LearningRate
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.evaluation.playing import baselines, evaluate
from tests.small import build_learner, make_env, weights


def test_the_twin_learns_and_beats_the_baselines(ner):
    env = make_env(ner)
    evaluation = make_env(ner, split="train")
    model = build_learner(Supervised, env, learning_rate=1e-2).learn(40 * env.unwrapped.positions_per_pass)
    rows = baselines(evaluation)
    found = evaluate(model.policy, evaluation).metrics
    assert found["entity_f1"] > 0.5 > rows["random"]["entity_f1"]
    assert found["cross_entropy"] < rows["random"]["cross_entropy"]


@pytest.mark.parametrize("samples", [4, 8, 16])
def test_maximum_likelihood_does_not_collapse(ner, samples):
    model = build_learner(REINFORCE, make_env(ner), samples=samples, learning_rate=1e-2)
    model.learn(40 * model.timesteps_per_pass)
    assert evaluate(model.policy, make_env(ner, split="train")).metrics["entity_f1"] > 0.4


def test_kl_to_the_reference_holds_the_policy_back(ner):
    free, held = (build_learner(REINFORCE, make_env(ner), samples=4, kl_coef=kl) for kl in (0.0, 10.0))
    start = weights(build_learner(REINFORCE, make_env(ner), samples=4))
    moved = [float((weights(model.learn(3000)) - start).norm()) for model in (free, held)]
    probabilities = [evaluate(model.policy, make_env(ner)).metrics["cross_entropy"] for model in (free, held)]
    assert probabilities[0] < probabilities[1]
    assert all(distance > 0 for distance in moved)


def test_the_supervised_loss_beside_the_policy_gradient_s(ner):
    """If every reward is 0, there is no policy gradient; only the twin's gradient remains, scaled by clipping."""
    given = {"max_grad_norm": 1e-3, "learning_rate": 1e-3}
    nothing = make_env(ner, reward=lambda choices, targets, mask: np.zeros(choices.shape, np.float32))
    mixed = build_learner(REINFORCE, nothing, samples=4, supervised_coef=10.0, **given)
    twin = build_learner(Supervised, make_env(ner), **given)
    start = weights(twin)
    for model in (mixed, twin):
        model.learn(model.timesteps_per_pass)
    assert mixed._n_updates == twin._n_updates
    assert th.allclose(weights(mixed) - start, weights(twin) - start, atol=1e-5)
    assert float((weights(twin) - start).abs().max()) > 1e-3


def test_a_second_run_goes_on_where_the_rate_of_the_first_ended():
    whole = LearningRate(0.1, "linear", warmup=0.2)
    first = LearningRate(0.1, "linear", warmup=0.4, end_factor=0.625)
    second = LearningRate(0.0625, "linear")
    done = np.linspace(0, 1, 21)
    found = [first(1 - 2 * d) if d < 0.5 else second(2 - 2 * d) for d in done]
    assert found == pytest.approx([whole(1 - d) for d in done])
    assert first(0.0) == pytest.approx(0.0625)


def test_a_cosine_decay_after_the_warmup():
    rate = LearningRate(0.1, "cosine", warmup=0.2, end_factor=0.1)
    found = [rate(1 - done) for done in (0.1, 0.2, 0.4, 0.6, 1.0)]
    quarter = (1 + np.cos(np.pi / 4)) / 2  # remains of the rate after a quarter of the decay
    assert found == pytest.approx([0.05, 0.1, 0.1 * (0.1 + 0.9 * quarter), 0.055, 0.01])


def test_reinforce_plays_other_environments():
    model = REINFORCE("MlpPolicy", gymnasium.make("CartPole-v1"), 3e-3, seed=0, device="cpu")
    before = evaluate_policy(model, model.get_env(), 20, deterministic=False)[0]
    model.learn(15_000)
    assert evaluate_policy(model, model.get_env(), 20, deterministic=False)[0] > 100 > before


def test_reinforce_plays_token_by_token(ner):
    env = make_env(ner, unit="token")
    model = build_learner(REINFORCE, env)
    model.learn(300)
    assert model.num_timesteps >= 300
    assert model._n_updates > 0
    assert model.backward_passes == 8 * model._n_updates  # texts, not steps
    assert model.forward_passes == 2 * model.backward_passes
