"""Replicas of gradient-free agents give the result of one process, however the members are divided."""

import pickle

import gymnasium
import numpy as np
import pytest
import torch as th

from lm_gym.agents.algorithms.evaluators import Evaluator
from lm_gym.agents.algorithms.presets import ES, PRESETS
from lm_gym.agents.algorithms.replica import Order, Replica, Update
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.algorithms.workers import Start, checksum
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.settings import SettingsError
from tests.small import Stop, small


class TwoReplicas(Evaluator):
    """Replicas in this process that share the chunks, last one first, and communicate only by messages."""

    def __init__(self):
        self.replicas = []

    @th.inference_mode(False)  # as in separate processes
    def judge(self, agent, population):
        if not self.replicas:
            start = pickle.dumps(Start.of(agent))
            self.replicas = [Replica(pickle.loads(start)) for _ in range(2)]
        parts = {}
        for chunk in reversed(range(len(population.chunks))):
            order = Order(agent.optimizer.generation, population.texts.batch_draws, range(chunk, chunk + 1))
            (part,) = self.replicas[chunk % 2].parts(pickle.loads(pickle.dumps(order)))
            parts[chunk] = pickle.loads(pickle.dumps(part))
        assert len(parts) > 1
        return population.total(parts[chunk] for chunk in range(len(population.chunks)))

    def updated(self, fitness, rate):
        message = pickle.dumps(Update(fitness.numpy(), rate))
        for replica in self.replicas:
            replica.update(pickle.loads(message))


def build(names, algorithm, **kwargs):
    env = gymnasium.make_vec(
        "lm_gym/NER-v0", num_envs=4, dataset=names, unit="sequence", actions="distribution", reward="log_likelihood",
        autoreset_mode="SameStep", max_length=64,
    )  # fmt: skip
    given = {"policy_kwargs": small(env), "optimizer_kwargs": {"popsize": 24}, "max_rows": 16, "seed": 3}
    return algorithm("LMPolicy", env, **{**given, "device": "cpu", **kwargs})


def outcome(agent):
    infos = [info["position_rewards"].tolist() for info in agent._infos]
    return infos, agent.num_timesteps, agent.forward_passes, agent.tokens, list(agent.ep_info_buffer), checksum(agent)


@pytest.mark.parametrize("name", PRESETS)
def test_every_search_is_the_same_with_replicas(name, names):
    unit = build(names, PRESETS[name], optimizer_kwargs={}).optimizer.ask().unit
    given = {"optimizer_kwargs": {"popsize": 24 if 24 % unit == 0 else unit}}
    alone = build(names, PRESETS[name], **given).learn(10**9, callback=Stop(3))
    agent = build(names, PRESETS[name], **given)
    agent.evaluator = TwoReplicas()
    agent.learn(10**9, callback=Stop(3))
    assert outcome(agent) == outcome(alone)
    assert [replica.checksum() for replica in agent.evaluator.replicas] == [checksum(agent)] * 2


@pytest.mark.parametrize(
    "more",
    [
        {"search_space": "full"},
        {"search_space": "soft_prompt", "search_space_kwargs": {"dim": None}},
        {"texts_per_member": 1, "max_rows": 5},
        {"texts_per_member": 2, "max_rows": 6, "new_texts_every": 0},
        {"schedule": "linear", "warmup": 0.5, "new_texts_every": 2},
    ],
)
def test_every_way_to_search_is_the_same_with_replicas(more, names):
    alone = build(names, ES, **more).learn(10**9, callback=Stop(3))
    agent = build(names, ES, **more)
    agent.evaluator = TwoReplicas()
    assert outcome(agent.learn(10**9, callback=Stop(3))) == outcome(alone)


@pytest.mark.parametrize("texts_per_member", [None, 2])
def test_a_chunk_waits_for_the_device_once(texts_per_member, names, monkeypatch):
    agent = build(names, ES, texts_per_member=texts_per_member).learn(1)
    population, _ = agent.evaluation(TextEnvironments(agent.env))
    with agent.generation():
        population.part(0)
        waits = []
        for name in ("cpu", "item", "numpy"):
            method = getattr(th.Tensor, name)
            monkeypatch.setattr(th.Tensor, name, lambda *given, m=method, n=name: waits.append(n) or m(*given))
        population.part(1)
    assert waits == ["cpu", "numpy"]


def test_a_replica_of_another_generation_refuses(names):
    agent = build(names, ES).learn(1)
    replica = Replica(Start.of(agent))
    with pytest.raises(WorkerError, match="the replica is in generation 1, not 2"):
        replica.parts(Order(2, 0, range(1)))


def test_a_checksum_sees_a_bit(names):
    agent = build(names, ES)
    before = checksum(agent)
    weight = next(agent.policy.parameters())
    with th.no_grad():
        weight[0, 0] = float(np.nextafter(np.float32(weight[0, 0].item()), np.float32(1)))
    assert checksum(agent) != before


def test_members_that_play_step_by_step_have_no_other_evaluator():
    agent = ES("MlpPolicy", "CartPole-v1", device="cpu")
    agent.evaluator = TwoReplicas()
    with pytest.raises(WorkerError, match="members that take several steps are played one after another"):
        agent.learn(1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--algo=ppo", "--ray.workers=2"],
            "ppo learns from rollouts, which they cannot share: leave ray.workers out",
        ),
        (["--algo=es", "--ray.address=auto"], r"ray\.address is set without workers"),
        (["--algo=es", "--ray.workers=2", "--ray.address=far away"], "give local, auto or HOST:PORT"),
        (["--algo=es", "--ray.workers=0"], r"ray\.workers must be"),
    ],
)
def test_workers_that_cannot_be_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        parse_settings(given)


def test_without_ray_the_way_to_install_it_is_named(monkeypatch):
    monkeypatch.setattr("lm_gym.agents.runs.cluster.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install .lm-gym\[ray\]"):
        parse_settings(["--algo=es", "--ray.workers=2"])
