"""The fitness of the members of a population: rewards, texts that are kept, texts of a member's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from lm_gym.agents.algorithms.fitness import PopulationFitness, within_groups
from lm_gym.agents.algorithms.presets import ES, GA, PRESETS
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.search.population.forward import PopulationForward
from tests.small import Stop, build, first_texts, search_env, weights

NER_TEXTS = 64


class Fitness(BaseCallback):
    """Keep the logged values of each generation."""

    def __init__(self):
        super().__init__()
        self.means = []

    def _on_step(self):
        self.means.append(self.logger.name_to_value["search/fitness_mean"])
        return True


def test_fitness_is_what_the_environment_pays(ner):
    env = search_env(ner)
    model = build(ES, env, optimizer_kwargs={"popsize": 4})
    watched = Fitness()
    model.learn(1, callback=watched)
    played = search_env(ner, num_envs=8)
    fresh = build(ES, search_env(ner), optimizer_kwargs={"popsize": 4})
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
            search_env(ner),
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
    model = build(GA, search_env(ner, reward=reward, actions=actions)).learn(10**9, callback=Stop(3))
    assert model.logger.name_to_value["search/fitness_best"] >= model.logger.name_to_value["search/fitness_mean"]
    infos = model._infos
    assert set(infos[0]) == {"position_rewards", "episode", *(["reward_terms"] if isinstance(reward, dict) else [])}


def test_texts_that_are_kept_are_encoded_once(ner, monkeypatch):
    kept = {"new_texts_every": 3, "optimizer_kwargs": {"popsize": 4}}
    again = build(ES, search_env(ner), **kept)
    monkeypatch.setattr(again.space, "_together", encoded_always(again.space))
    again.learn(10**9, callback=Stop(7))
    model, encoded = build(ES, search_env(ner), **kept), []
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


def test_max_rows_changes_nothing(ner):
    one = build(ES, search_env(ner), max_rows=8).learn(10**9, callback=Stop(3))
    all_ = build(ES, search_env(ner), max_rows=10_000).learn(10**9, callback=Stop(3))
    th.testing.assert_close(weights(one), weights(all_), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_members_read_texts_of_their_own(name, ner):
    """There are as many groups as texts, texts are counted as they are read, and the search continues unchanged."""
    unit = max(2, build(PRESETS[name], search_env(ner)).optimizer.ask().unit)
    kwargs = {"optimizer_kwargs": {"popsize": 8 * unit}}
    shared = build(PRESETS[name], search_env(ner), **kwargs).learn(10**9, callback=Stop(2))
    apart = build(PRESETS[name], search_env(ner), **kwargs, texts_per_member=1).learn(10**9, callback=Stop(2))
    for counter in ("num_timesteps", "forward_passes", "tokens", "forward_passes_per_pass", "timesteps_per_pass"):
        assert getattr(shared, counter) == 8 * getattr(apart, counter), counter
    assert apart.forward_passes == 2 * 8 * unit
    assert weights(apart).isfinite().all()


def test_fitness_of_own_texts_is_what_each_member_earns_on_them(ner):
    model = build(ES, search_env(ner), optimizer_kwargs={"popsize": 8}, texts_per_member=2)
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
    model = build(PRESETS[name], search_env(ner), optimizer_kwargs={"popsize": 16}, texts_per_member=1)
    asked, told = model.optimizer.ask().vectors().clone(), []
    monkeypatch.setattr(model.optimizer, "tell", told.append)
    judged = []
    prepare = model.space.prepare
    monkeypatch.setattr(model.space, "prepare", lambda *given: judged.append(given[1]) or prepare(*given))
    model.learn(1)
    assert th.equal(judged[0].vectors()[0::2], asked[:8])
    assert th.equal(judged[0].vectors()[1::2], asked[8:])
    own = within_groups(judge(model.space, judged[0], *first_texts(model), 512, 8), 8)
    assert told[0].tolist() == pytest.approx(th.cat([own[0::2], own[1::2]]).tolist(), abs=1e-6)


def judge(*given):
    """Return the fitness of the members of a population."""
    population = PopulationFitness(*given)
    return population.total(map(population.part, range(len(population.chunks)))).fitness
