"""REINFORCE and its twin through Stable-Baselines3's interface: saved, stopped and resumed, callbacks."""

import gymnasium
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.compat.stable_baselines3 import VecEnvAdapter
from tests.small import Stop, build_learner, make_env, small, weights

VARIANTS = [
    (Supervised, {}),
    (REINFORCE, {"samples": 4}),
    (REINFORCE, {"samples": 4, "behaviour": "without_replacement"}),
    (REINFORCE, {"samples": 4, "behaviour": "mixture"}),
    (REINFORCE, {"samples": 3, "advantage": "normalized", "baseline": "value", "gamma": 0.9}),
    (REINFORCE, {"samples": 1, "advantage": "plain", "baseline": "moving_average"}),
    (REINFORCE, {"samples": 4, "behaviour": "reference", "baseline": "group_mean"}),
    (REINFORCE, {"samples": 2, "advantage": "plain", "baseline": "counterfactual", "gamma": 1.0}),
    (REINFORCE, {"samples": "all"}),
    (REINFORCE, {"samples": 4, "autocast": True}),
    (Supervised, {"autocast": True}),
    (REINFORCE, {"samples": 2, "kl_coef": 0.1, "entropy_coef": 0.01, "supervised_coef": 0.5}),
]


def test_every_algorithm_is_in_the_variants():
    gradient_based = {kind for kind in ALGORITHMS.values() if issubclass(kind, GradientAlgorithm)}
    assert {algorithm for algorithm, _ in VARIANTS} == gradient_based


@pytest.mark.parametrize(("algorithm", "kwargs"), VARIANTS)
def test_stop_save_load_and_go_on_equals_never_having_stopped(algorithm, kwargs, ner, tmp_path):
    whole = build_learner(algorithm, make_env(ner), **kwargs).learn(2000)
    first = build_learner(algorithm, make_env(ner), **kwargs).learn(900)
    first.save(tmp_path / "agent")
    second = algorithm.load(tmp_path / "agent", env=make_env(ner), device="cpu")
    assert th.equal(weights(first), weights(second))
    second.learn(2000 - second.num_timesteps, reset_num_timesteps=False)
    for name in ("num_timesteps", "_n_updates", "forward_passes", "backward_passes", "tokens"):
        assert getattr(second, name) == getattr(whole, name), name
    assert th.equal(weights(second), weights(whole))
    assert whole._n_updates > first._n_updates > 0


def test_roformer_goes_on_as_if_it_had_never_stopped(ner, tmp_path):
    """RoFormer's position table is not in the checkpoints of transformers."""
    env = make_env(ner)
    model = {**small(env)["model"], "model_type": "roformer", "embedding_size": 16}
    given = {"samples": 4, "policy_kwargs": {"model": model}}
    whole = build_learner(REINFORCE, env, **given).learn(2000)
    build_learner(REINFORCE, make_env(ner), **given).learn(900).save(tmp_path / "agent")
    second = REINFORCE.load(tmp_path / "agent", env=make_env(ner), device="cpu")
    second.learn(2000 - second.num_timesteps, reset_num_timesteps=False)
    assert th.equal(weights(second), weights(whole))
    obs, _ = make_env(ner, split="validation").reset(seed=0)
    both = [model.policy.predict(obs, deterministic=True)[0] for model in (second, whole)]
    assert (both[0] == both[1]).all()


def test_the_same_seed_gives_the_same_run_and_leaves_global_generators_alone(ner):
    th.manual_seed(11)
    before = th.get_rng_state()
    one, two = (weights(build_learner(REINFORCE, make_env(ner), samples=2).learn(500)) for _ in range(2))
    other = weights(build_learner(REINFORCE, make_env(ner), samples=2, seed=4).learn(500))
    assert th.equal(one, two)
    assert not th.equal(one, other)
    assert th.equal(before, th.get_rng_state())


@pytest.mark.parametrize(("algorithm", "kwargs"), VARIANTS[:2])
def test_a_callback_stops_at_once(algorithm, kwargs, ner):
    model = build_learner(algorithm, make_env(ner), **kwargs).learn(10**6, callback=Stop(3))
    assert model._n_updates == 3


def test_a_stopped_run_goes_on_where_it_was(ner):
    stopped = build_learner(Supervised, make_env(ner)).learn(10**6, callback=Stop(3))
    stopped.learn(10**6, callback=Stop(3), reset_num_timesteps=False)
    straight = build_learner(Supervised, make_env(ner)).learn(10**6, callback=Stop(6))
    assert th.equal(weights(stopped), weights(straight))


@pytest.mark.parametrize(("algorithm", "kwargs"), VARIANTS[:2])
def test_stable_baselines3_callbacks_evaluation_and_env_setting(algorithm, kwargs, ner, tmp_path):
    model = build_learner(algorithm, make_env(ner), **kwargs)
    evaluation = VecEnvAdapter(make_env(ner, split="validation"))
    callback = EvalCallback(evaluation, n_eval_episodes=16, eval_freq=2, log_path=str(tmp_path), verbose=0)
    model.learn(600, callback=callback, progress_bar=True)
    assert len(callback.evaluations_results) >= 1
    mean, deviation = evaluate_policy(model, evaluation, n_eval_episodes=20)
    assert 0 <= mean <= 64
    assert deviation >= 0
    model.set_env(make_env(ner))
    model.learn(200, reset_num_timesteps=False)
    single = DummyVecEnv([lambda: gymnasium.make("lm_gym/NER-v0", dataset=ner, unit="sequence", max_length=128)])
    assert np.isfinite(evaluate_policy(model, single, n_eval_episodes=3, warn=False)[0])


def test_environments_one_by_one_give_what_a_native_one_gives(ner):
    def single():
        return gymnasium.make("lm_gym/NER-v0", dataset=ner, unit="sequence", reward="accuracy", max_length=128)

    model = build_learner(REINFORCE, make_env(ner, num_envs=1), samples=2)
    one = REINFORCE("LMPolicy", single(), 3e-3, seed=3, device="cpu", samples=2, policy_kwargs=model.policy_kwargs)
    assert th.equal(weights(model.learn(200)), weights(one.learn(200)))
    two = REINFORCE(
        "LMPolicy", DummyVecEnv([single, single]), samples=2, policy_kwargs=model.policy_kwargs, device="cpu"
    )
    assert two.learn(100).num_timesteps >= 100


def test_an_agent_without_environment_says_what_to_do(ner, tmp_path):
    build_learner(Supervised, make_env(ner)).save(tmp_path / "agent")
    model = Supervised.load(tmp_path / "agent", device="cpu")
    obs, _ = make_env(ner).reset(seed=0)
    assert model.predict(obs, deterministic=True)[0].shape == obs["positions"].shape
    with pytest.raises(ValueError, match="set_env"):
        model.learn(10)
