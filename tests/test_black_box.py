"""Gradient-free search through Stable-Baselines3's interface, over language models and over any other policy."""

import gymnasium
import numpy as np
import pytest
import torch as th
from sb3_contrib import ARS
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from lm_gym.agents.algorithms.presets import CMAES, ES, GA, PRESETS
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.spaces import SEARCH_SPACES
from tests.small import Stop, few_names, small


@pytest.fixture(scope="session")
def ner():
    return few_names(64)


def make_env(dataset, task="NER", num_envs=8, **kwargs):
    kwargs = {"unit": "sequence", "actions": "distribution", "autoreset_mode": "SameStep", "max_length": 128, **kwargs}
    kwargs.setdefault("reward", "log_likelihood")
    return gymnasium.make_vec(f"lm_gym/{task}-v0", num_envs=num_envs, dataset=dataset, **kwargs)


def build(algorithm, env, **kwargs):
    return algorithm("LMPolicy", env, **{"seed": 3, "device": "cpu", "policy_kwargs": small(env), **kwargs})


def weights(model):
    return th.cat([p.detach().flatten() for p in model.policy.parameters()])


class Fitness(BaseCallback):
    """Keeps what the search logs of each generation."""

    def __init__(self):
        super().__init__()
        self.means = []

    def _on_step(self):
        self.means.append(self.logger.name_to_value["search/fitness_mean"])
        return True


def test_every_optimizer_has_a_preset_or_is_an_option_of_one():
    assert {preset.preset.optimizer for preset in PRESETS.values()} <= set(OPTIMIZERS)
    assert {preset.preset.search_space for preset in PRESETS.values()} <= set(SEARCH_SPACES)


@pytest.mark.parametrize("name", PRESETS)
def test_stop_save_load_and_go_on_equals_never_having_stopped(name, ner, tmp_path):
    generations = 6
    whole = build(PRESETS[name], make_env(ner)).learn(10**9, callback=Stop(generations))
    first = build(PRESETS[name], make_env(ner)).learn(10**9, callback=Stop(3))
    first.save(tmp_path / "agent")
    second = PRESETS[name].load(tmp_path / "agent", env=make_env(ner), device="cpu")
    assert th.equal(weights(first), weights(second))
    second.learn(10**9, callback=Stop(generations - 3), reset_num_timesteps=False)
    for counter in ("num_timesteps", "_n_updates", "forward_passes", "backward_passes", "tokens"):
        assert getattr(second, counter) == getattr(whole, counter), counter
    assert th.equal(weights(second), weights(whole))
    assert whole.backward_passes == 0
    assert whole._n_updates == generations


@pytest.mark.parametrize("name", PRESETS)
def test_no_gradient_is_ever_asked_for(name, ner, monkeypatch):
    def refuse(*_arguments, **_more):
        raise AssertionError("a backward pass")

    monkeypatch.setattr(th.Tensor, "backward", refuse)
    monkeypatch.setattr(th.autograd, "backward", refuse)
    monkeypatch.setattr(th.autograd, "grad", refuse)
    model = build(PRESETS[name], make_env(ner)).learn(10**9, callback=Stop(2))
    assert not any(p.requires_grad for p in model.policy.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_seed_gives_the_same_run_and_leaves_global_generators_alone(name, ner):
    th.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002  (the global state is what is watched)
    before, numpy_before = th.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (weights(build(PRESETS[name], make_env(ner)).learn(10**9, callback=Stop(3))) for _ in range(2))
    other = weights(build(PRESETS[name], make_env(ner), seed=4).learn(10**9, callback=Stop(3)))
    assert th.equal(one, two)
    assert not th.equal(one, other)
    assert th.equal(before, th.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"random_search"}))
def test_the_head_is_found_without_a_gradient(name, ner):
    """The mean log-likelihood of the training texts rises above that of the fresh head, about log 9."""
    model = build(PRESETS[name], make_env(ner, num_envs=16))
    before = evaluate(model.policy, make_env(ner, split="train")).metrics["cross_entropy"]
    model.learn(10**9, callback=Stop(60))
    after = evaluate(model.policy, make_env(ner, split="train")).metrics["cross_entropy"]
    assert after < before - 0.3


def test_fitness_is_what_the_environment_pays(ner):
    env = make_env(ner)
    model = build(ES, env, optimizer_kwargs={"popsize": 4})
    watched = Fitness()
    model.learn(1, callback=watched)
    played = make_env(ner, num_envs=8)
    played.reset(seed=3)
    fresh = build(ES, make_env(ner), optimizer_kwargs={"popsize": 4})
    paid = []
    obs, _ = fresh.policy.obs_to_tensor(played.reset(seed=3)[0])
    for member in range(4):
        with fresh.space.materialised(fresh.optimizer.ask(), member), th.no_grad():
            packed = fresh.policy.positions(obs)
            gold = th.as_tensor(played.unwrapped.targets)[packed.rows, packed.slots]
            paid.append(packed.log_probs.gather(1, gold[:, None]).mean().item())
    assert watched.means[0] == pytest.approx(np.mean(paid), abs=1e-5)


def test_a_member_pays_the_price_of_the_heads_that_it_keeps(ner):
    means, kept = {}, None
    for price in (0.0, 0.5):
        watched = Fitness()
        model = build(
            GA,
            make_env(ner),
            search_space="head_mask",
            search_space_kwargs={"price": price},
            optimizer_kwargs={"popsize": 4},
        )
        kept = model.optimizer.ask().vectors().double().mean().item()
        model.learn(1, callback=watched)
        means[price] = watched.means[0]
    assert means[0.0] - means[0.5] == pytest.approx(0.5 * kept, abs=1e-6)


@pytest.mark.parametrize("reward", ["accuracy", "f1", {"f1": 1.0, "accuracy": 0.1}])
@pytest.mark.parametrize("actions", ["token", "distribution"])
def test_other_rewards_are_fitness_too(reward, actions, ner):
    model = build(GA, make_env(ner, reward=reward, actions=actions)).learn(10**9, callback=Stop(3))
    assert model.logger.name_to_value["search/fitness_best"] >= model.logger.name_to_value["search/fitness_mean"]
    infos = model._infos
    assert set(infos[0]) == {"position_rewards", "episode", *(["reward_terms"] if isinstance(reward, dict) else [])}


def test_texts_are_held_for_as_many_generations_as_asked(ner):
    seen = []

    class Watch(BaseCallback):
        def _on_step(self):
            seen.append(self.training_env.vector.text_index.tolist())
            return len(seen) < 7

    build(ES, make_env(ner), new_texts_every=3).learn(10**9, callback=Watch())
    assert seen[0] == seen[1] != seen[2] == seen[3] == seen[4] != seen[5]


def test_early_stopping(ner):
    model = build(ES, make_env(ner), stop_fitness=-100.0).learn(10**9)
    assert model._n_updates == 1
    model = build(ES, make_env(ner), patience=2, new_texts_every=0, optimizer_kwargs={"learning_rate": 0.0})
    model.learn(10**9)
    assert model._n_updates <= 12


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"optimizer": "sness"}, "did you mean 'snes'"),
        ({"search_space": "heads"}, "did you mean 'head"),
        ({"optimizer_kwargs": {"popsiz": 4}}, "did you mean 'popsize'"),
        ({"search_space_kwargs": {"ran": 4}}, "search_space_kwargs: head has no argument 'ran'"),
        ({"new_texts_every": -1}, "at least 0, got -1"),
        ({"max_rows": 0}, "at least 1, got 0"),
        ({"learning_rate": 0.1}, "learning_rate=0.1: ES has none of its own"),
    ],
)
def test_bad_arguments(kwargs, message, ner):
    with pytest.raises(ValueError, match=message):
        build(ES, make_env(ner), **kwargs)


def test_texts_decided_one_position_at_a_time_are_refused(ner):
    with pytest.raises(ValueError, match="unit='sequence'"):
        build(ES, make_env(ner, unit="token"))


def test_max_rows_changes_nothing(ner):
    one = build(ES, make_env(ner), max_rows=8).learn(10**9, callback=Stop(3))
    all_ = build(ES, make_env(ner), max_rows=10_000).learn(10**9, callback=Stop(3))
    th.testing.assert_close(weights(one), weights(all_), atol=1e-5, rtol=1e-4)


def test_cart_pole_is_solved_as_by_augmented_random_search():
    env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
    linear = {"policy_kwargs": {"net_arch": []}, "search_space": "full", "search_space_kwargs": {"scale": 1.0}}
    model = CMAES("MlpPolicy", env, seed=0, optimizer_kwargs={"popsize": 10, "sigma": 1.0}, **linear)
    model.learn(60_000)
    theirs = ARS("LinearPolicy", "CartPole-v1", seed=0).learn(60_000)
    ours, reference = (evaluate_policy(m, env, 20)[0] for m in (model, theirs))
    assert ours >= 475.0  # what Gymnasium calls solved
    assert ours >= reference - 25.0
