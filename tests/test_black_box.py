"""Gradient-free search through Stable-Baselines3's interface, over language models and over any other policy."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch as th
from sb3_contrib import ARS
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from lm_gym.agents.algorithms.fitness import PopulationFitness, within_groups
from lm_gym.agents.algorithms.presets import CMAES, ES, GA, PRESETS
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.evaluation.playing import evaluate
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.population.forward import PopulationForward
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
    """Keep the logged values of each generation."""

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


def test_texts_that_are_kept_are_encoded_once(ner, monkeypatch):
    kept = {"new_texts_every": 3, "optimizer_kwargs": {"popsize": 4}}
    again = build(ES, make_env(ner), **kept)
    monkeypatch.setattr(again.space, "_together", encoded_always(again.space))
    again.learn(10**9, callback=Stop(7))
    model, encoded = build(ES, make_env(ner), **kept), []
    share = PopulationForward._shared_part
    monkeypatch.setattr(PopulationForward, "_shared_part", lambda *given: encoded.append(given) or share(*given))
    model.learn(10**9, callback=Stop(7))
    assert len(encoded) == 3
    assert th.equal(weights(model), weights(again))
    with th.no_grad():
        next(iter(model.policy.network.base_model.parameters())).mul_(2)
    fitness = judge(model.space, model.optimizer.ask(), model._observation(), TextEnvironments(model.env), 512)
    assert len(encoded) == 4  # a weight changed, although the search does not change it
    assert fitness.tolist() == judge(model.space, model.optimizer.ask(), *again_tensors(model), 512).tolist()


def encoded_always(space):
    """A space's evaluation that reuses nothing."""
    together = space._together
    return lambda reading, population: together(replace(reading, obs=dict(reading.obs)), population)


def again_tensors(model):
    """The texts of the current generation in a new observation, and their environments."""
    return dict(model._observation()), TextEnvironments(model.env)


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
        ({"learning_rate": 0.1}, "learning_rate=0.1: ES has no learning rate itself"),
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


@pytest.mark.parametrize("name", PRESETS)
def test_members_read_texts_of_their_own(name, ner):
    """There are as many groups as texts, texts are counted as they are read, and the search continues unchanged."""
    unit = max(2, build(PRESETS[name], make_env(ner)).optimizer.ask().unit)
    kwargs = {"optimizer_kwargs": {"popsize": 8 * unit}}
    shared = build(PRESETS[name], make_env(ner), **kwargs).learn(10**9, callback=Stop(2))
    apart = build(PRESETS[name], make_env(ner), **kwargs, texts_per_member=1).learn(10**9, callback=Stop(2))
    for counter in ("num_timesteps", "forward_passes", "tokens", "forward_passes_per_pass", "timesteps_per_pass"):
        assert getattr(shared, counter) == 8 * getattr(apart, counter), counter
    assert apart.forward_passes == 2 * 8 * unit
    assert weights(apart).isfinite().all()


def test_fitness_of_own_texts_is_what_each_member_earns_on_them(ner):
    model = build(ES, make_env(ner), optimizer_kwargs={"popsize": 8}, texts_per_member=2)
    model.learn(1)  # sets up the environment and moves the centre once
    obs, _ = model.policy.obs_to_tensor(model._last_obs)
    texts = TextEnvironments(model.env)
    judged = judge(model.space, model.optimizer.ask(), obs, texts, 7, 4)
    paid, positions = [], int(obs["position_mask"].sum())
    for member in range(8):
        mine = slice(member // 2 * 2, member // 2 * 2 + 2)
        with model.space.materialised(model.optimizer.ask(), member), th.no_grad():
            packed = model.policy.positions({key: leaf[mine] for key, leaf in obs.items()})
        gold = th.as_tensor(texts.targets[mine])[packed.rows, packed.slots]
        paid.append(packed.log_probs.gather(1, gold[:, None]).sum().item() / (positions / 4))
    assert judged.tolist() == pytest.approx(paid, abs=1e-5)
    relative = within_groups(judged, 4).view(4, 2)
    assert relative.mean(1).tolist() == pytest.approx([judged.mean().item()] * 4)
    assert (relative[:, 0] - relative[:, 1]).tolist() == pytest.approx((judged[0::2] - judged[1::2]).tolist())


def test_fitness_is_centred_within_groups_by_hand():
    told = th.tensor([1.0, 3.0, 10.0, th.nan, th.nan, th.nan], dtype=th.float64)
    mean = (1 + 3 + 10) / 3
    centred = within_groups(told, 3)
    assert centred[:3].tolist() == pytest.approx([mean - 1, mean + 1, mean])
    assert centred[3:].isnan().all()
    assert within_groups(told, 1) is told


@pytest.mark.parametrize("name", ["de", "pso", "sa"])
def test_a_parent_and_its_trial_read_the_same_texts(name, ner, monkeypatch):
    """Members that are not neighbours are evaluated together, and each gets its own fitness."""
    model = build(PRESETS[name], make_env(ner), optimizer_kwargs={"popsize": 16}, texts_per_member=1)
    asked, told = model.optimizer.ask().vectors().clone(), []
    monkeypatch.setattr(model.optimizer, "tell", told.append)
    judged = []
    prepare = model.space.prepare
    monkeypatch.setattr(model.space, "prepare", lambda *given: judged.append(given[1]) or prepare(*given))
    model.learn(1)
    assert th.equal(judged[0].vectors()[0::2], asked[:8])
    assert th.equal(judged[0].vectors()[1::2], asked[8:])
    own = within_groups(judge(model.space, judged[0], *again(model), 512, 8), 8)
    assert told[0].tolist() == pytest.approx(th.cat([own[0::2], own[1::2]]).tolist(), abs=1e-6)


def judge(*given):
    """Return the fitness of the members of a population."""
    population = PopulationFitness(*given)
    return population.total(map(population.part, range(len(population.chunks)))).fitness


def again(model):
    """Return the observation of the first generation and its environment."""
    model.env.seed(model.seed)
    model.env.set_options({"draws": 0})
    obs, _ = model.policy.obs_to_tensor(model.env.reset())
    return obs, TextEnvironments(model.env)


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
        build(ES, make_env(ner), **kwargs)


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

    model = build(PRESETS[name], make_env(ner), schedule="linear", warmup=0.5, new_texts_every=0)
    before = weights(model)
    per_generation = model.optimizer.popsize * int(again(model)[0]["position_mask"].sum())
    model.learn(4 * per_generation, callback=Watch())
    assert rates == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=0.02)
    assert not th.equal(before, weights(model))
    still = build(PRESETS[name], make_env(ner))
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
