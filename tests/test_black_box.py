"""Gradient-free search through Stable-Baselines3's interface, over language models and over any other policy."""

import numpy as np
import pytest
import torch as th
from sb3_contrib import ARS
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from lm_gym.agents.algorithms.presets import CMAES, ES, PRESETS
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.spaces import SEARCH_SPACES
from tests.small import Stop, build, first_texts, search_env, weights

NER_TEXTS = 64


def test_every_optimizer_has_a_preset_or_is_an_option_of_one():
    assert {preset.preset.optimizer for preset in PRESETS.values()} <= set(OPTIMIZERS)
    assert {preset.preset.search_space for preset in PRESETS.values()} <= set(SEARCH_SPACES)


@pytest.mark.parametrize("name", PRESETS)
def test_stop_save_load_and_go_on_equals_never_having_stopped(name, ner, tmp_path):
    generations = 6
    whole = build(PRESETS[name], search_env(ner)).learn(10**9, callback=Stop(generations))
    first = build(PRESETS[name], search_env(ner)).learn(10**9, callback=Stop(3))
    first.save(tmp_path / "agent")
    second = PRESETS[name].load(tmp_path / "agent", env=search_env(ner), device="cpu")
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
    model = build(PRESETS[name], search_env(ner)).learn(10**9, callback=Stop(2))
    assert not any(p.requires_grad for p in model.policy.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_seed_gives_the_same_run_and_leaves_global_generators_alone(name, ner):
    th.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002  (the global state is what is watched)
    before, numpy_before = th.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (weights(build(PRESETS[name], search_env(ner)).learn(10**9, callback=Stop(3))) for _ in range(2))
    other = weights(build(PRESETS[name], search_env(ner), seed=4).learn(10**9, callback=Stop(3)))
    assert th.equal(one, two)
    assert not th.equal(one, other)
    assert th.equal(before, th.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"random_search"}))
def test_the_head_is_found_without_a_gradient(name, ner):
    """The mean log-likelihood of the training texts rises above that of the fresh head, about log 9."""
    model = build(PRESETS[name], search_env(ner, num_envs=16))
    before = evaluate(model.policy, search_env(ner, split="train")).metrics["cross_entropy"]
    model.learn(10**9, callback=Stop(60))
    after = evaluate(model.policy, search_env(ner, split="train")).metrics["cross_entropy"]
    assert after < before - 0.3


def test_texts_are_held_for_as_many_generations_as_asked(ner):
    seen = []

    class Watch(BaseCallback):
        def _on_step(self):
            seen.append(self.training_env.vector.text_index.tolist())
            return len(seen) < 7

    build(ES, search_env(ner), new_texts_every=3).learn(10**9, callback=Watch())
    assert seen[0] == seen[1] != seen[2] == seen[3] == seen[4] != seen[5]


def test_early_stopping(ner):
    model = build(ES, search_env(ner), stop_fitness=-100.0).learn(10**9)
    assert model._n_updates == 1
    model = build(ES, search_env(ner), patience=2, new_texts_every=0, optimizer_kwargs={"learning_rate": 0.0})
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
        ({"learning_rate": 0.1}, "learning_rate=0.1: ES has no learning rate itself"),
    ],
)
def test_bad_arguments(kwargs, message, ner):
    with pytest.raises(ValueError, match=message):
        build(ES, search_env(ner), **kwargs)


def test_texts_decided_one_position_at_a_time_are_refused(ner):
    with pytest.raises(ValueError, match="unit='sequence'"):
        build(ES, search_env(ner, unit="token"))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"texts_per_member": 0}, "at least 1, got 0"),
        ({"texts_per_member": 3}, "does not divide the 8 texts"),
        ({"texts_per_member": 1, "optimizer_kwargs": {"popsize": 12}}, "8 groups.*12 members.*popsize=16"),
        ({"schedule": "linear", "optimizer": "snes"}, "snes has no learning rate.* use one of es, "),
        ({"schedule": "square"}, "schedule='square'.*constant, cosine, linear"),
        ({"warmup": 1.5}, r"warmup must be in \[0, 1\)"),
    ],
)
def test_groups_and_schedules_that_cannot_be(kwargs, message, ner):
    with pytest.raises(ValueError, match=message):
        build(ES, search_env(ner), **kwargs)


def test_texts_of_their_own_need_texts():
    with pytest.raises(ValueError, match="only lm_gym's environments have texts"):
        ES("MlpPolicy", "CartPole-v1", texts_per_member=1)


@pytest.mark.parametrize("name", [name for name in PRESETS if OPTIMIZERS[PRESETS[name].preset.optimizer].has_rate])
def test_the_rate_follows_the_schedule(name, ner):
    rates = []

    class Watch(BaseCallback):
        def _on_step(self):
            rates.append(self.model.optimizer.rate)
            return True

    model = build(PRESETS[name], search_env(ner), schedule="linear", warmup=0.5, new_texts_every=0)
    before = weights(model)
    per_generation = model.optimizer.popsize * int(first_texts(model)[0]["position_mask"].sum())
    model.learn(4 * per_generation, callback=Watch())
    assert rates == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=0.02)
    assert not th.equal(before, weights(model))
    still = build(PRESETS[name], search_env(ner))
    still.optimizer.rate = 0.0
    still.optimizer.tell(th.arange(still.optimizer.popsize, dtype=th.float64))
    if name != "es":  # whose result is an average of means
        assert th.equal(before, weights(still))


def test_cart_pole_is_solved_as_by_augmented_random_search():
    env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
    linear = {"policy_kwargs": {"net_arch": []}, "search_space": "full", "search_space_kwargs": {"scale": 1.0}}
    model = CMAES("MlpPolicy", env, seed=0, optimizer_kwargs={"popsize": 10, "sigma": 1.0}, **linear)
    model.learn(60_000)
    theirs = ARS("LinearPolicy", "CartPole-v1", seed=0).learn(60_000)
    ours, reference = (evaluate_policy(m, env, 20)[0] for m in (model, theirs))
    assert ours >= 475.0  # Gymnasium's threshold for solved
    assert ours >= reference - 25.0
