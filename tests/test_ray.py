"""Populations evaluated by Ray workers give exactly the results of one process, even if workers fail."""

import os
from pathlib import Path

import gymnasium
import pytest
import torch as th

from lm_gym.agents.algorithms.presets import GA, SNES, LowRankES
from lm_gym.agents.algorithms.worker_error import WorkerError
from tests.disturbed import Disturbed
from tests.small import Stop, small

ray = pytest.importorskip("ray", reason="needs the extra ray")
from lm_gym.agents.algorithms.ray_evaluator import RayEvaluator  # noqa: E402
from tests.clusters import two_nodes  # noqa: E402

CASES = {
    "snes": (SNES, {}),
    "low_rank_es": (LowRankES, {"search_space": "full", "new_texts_every": 2}),
    "ga": (GA, {"texts_per_member": 2}),
}


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def workers(cluster):
    """Workers for all tests, used by one agent after another."""
    with RayEvaluator(1, cluster.address, checksum_every=2) as evaluator:
        yield evaluator


def build(names, case="snes", algorithm=None, **kwargs):
    usual, more = CASES[case]
    env = gymnasium.make_vec(
        "lm_gym/NER-v0", num_envs=4, dataset=names, unit="sequence", actions="distribution", reward="log_likelihood",
        autoreset_mode="SameStep", max_length=64,
    )  # fmt: skip
    given = {"optimizer_kwargs": {"popsize": 16}, "max_rows": 16, "seed": 3, "device": "cpu"}
    return (algorithm or usual)("LMPolicy", env, **{**given, "policy_kwargs": small(env), **more, **kwargs})


def state(agent):
    """Return everything that a generation changes."""
    counters = {name: getattr(agent, name) for name in ("num_timesteps", "_n_updates", "forward_passes", "tokens")}
    infos = [info["position_rewards"].tolist() for info in agent._infos]
    return (
        {name: p.clone() for name, p in agent.policy.named_parameters()},
        counters,
        infos,
        agent.optimizer.state_dict(),
    )


def assert_same(one, other):
    (weights, *rest, optimizer), (weights_2, *rest_2, optimizer_2) = state(one), state(other)
    assert rest == rest_2
    for a, b in ((weights, weights_2), (optimizer, optimizer_2)):
        assert a.keys() == b.keys()
        for name in a:
            assert th.equal(a[name], b[name]) if isinstance(a[name], th.Tensor) else a[name] == b[name], name


@pytest.mark.parametrize("case", CASES)
def test_one_worker_equals_one_process(case, names, workers):
    alone = build(names, case).learn(10**9, callback=Stop(4))
    agent = build(names, case)
    agent.evaluator = workers
    assert_same(agent.learn(10**9, callback=Stop(4)), alone)


def test_a_worker_that_joins_changes_nothing(names, workers):
    alone = build(names).learn(10**9, callback=Stop(4))
    agent = build(names)
    agent.evaluator = workers
    agent.learn(10**9, callback=Stop(2))
    workers.resize(2)
    workers.wait(agent)
    agent.learn(10**9, callback=Stop(2), reset_num_timesteps=False)
    assert_same(agent, alone)
    assert workers.logs()["ray/workers"] == 2


@pytest.mark.parametrize("case", CASES)
def test_two_workers_equal_one_process(case, names, workers):
    alone = build(names, case).learn(10**9, callback=Stop(4))
    agent = build(names, case)
    agent.evaluator = workers
    workers.wait(agent)
    assert_same(agent.learn(10**9, callback=Stop(4)), alone)


def disturbed(names, workers, folder, harm):
    agent = build(names, algorithm=Disturbed)
    agent.harm, agent.trap, agent.home = harm, str(folder / "trap"), os.getpid()
    agent.evaluator = workers
    Path(agent.trap).touch()
    return agent


def test_a_worker_killed_in_a_generation_costs_nothing_but_time(names, workers, tmp_path):
    alone = build(names).learn(10**9, callback=Stop(4))
    lost, before = workers.lost, set(workers.places)
    assert len(before) == 2
    agent = disturbed(names, workers, tmp_path, "dies").learn(10**9, callback=Stop(4))
    assert not Path(agent.trap).exists()
    assert workers.lost == lost + 1
    assert_same(agent, alone)
    workers.wait(agent)
    assert len(set(workers.places) - before) == 1  # it was replaced


def test_a_node_that_is_lost_costs_its_worker(names, workers, cluster):
    alone = build(names).learn(10**9, callback=Stop(4))
    agent = build(names)
    agent.evaluator = workers
    agent.learn(10**9, callback=Stop(2))
    workers.wait(agent)
    lost = workers.lost
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    cluster.add_node(num_cpus=1)
    agent.learn(10**9, callback=Stop(2), reset_num_timesteps=False)
    assert workers.lost == lost + 1
    assert_same(agent, alone)


def test_an_error_names_the_worker_and_what_failed(names, workers, tmp_path):
    with pytest.raises(WorkerError, match=r"^worker \d+ \(pid \d+ on [\d.]+\): ValueError: no such tag$"):
        disturbed(names, workers, tmp_path, "raises").learn(10**9, callback=Stop(4))


def test_weights_that_drift_apart_are_found(names, workers, tmp_path):
    with pytest.raises(WorkerError, match=r"^worker \d+ \(pid .*\) has other weights .* in generation 2: "):
        disturbed(names, workers, tmp_path, "drifts").learn(10**9, callback=Stop(4))


def test_messages_have_seeds_and_fitness_but_no_weights(names, workers):
    agent = build(names, "low_rank_es")
    agent.evaluator = workers
    weights = sum(p.nbytes for p in agent.policy.parameters())
    agent.learn(10**9, callback=Stop(1))
    workers.wait(agent)
    before = vars(workers.traffic).copy()
    agent.learn(10**9, callback=Stop(3), reset_num_timesteps=False)
    spent = {name: value - before[name] for name, value in vars(workers.traffic).items()}
    assert spent["starts"] == 0
    assert 0 < spent["down"] < 3 * 2 * 16 * 100
    assert 0 < spent["up"] < 3 * 4 * 4000
    assert before["starts"] > 2 * weights


def test_a_cluster_without_room_or_that_is_not_there(workers, names, monkeypatch):
    monkeypatch.setattr("lm_gym.agents.algorithms.ray_staff.PATIENCE", 0.5)
    agent = build(names)
    with (
        RayEvaluator(1, gpus=1) as agent.evaluator,
        pytest.raises(WorkerError, match=r"no worker has started .* 1 CPU and 1 GPU; give fewer workers"),
    ):
        agent.learn(1)
