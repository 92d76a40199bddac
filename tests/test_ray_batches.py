"""Batches shared by workers on two nodes give the same weights as one process, and clear errors."""

import os
import signal

import pytest
import torch as th

from lm_gym.agents import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.algorithms.worker_error import WorkerError
from tests.disturbed import Broken
from tests.small import Stop
from tests.test_batch_sharing import build

ray = pytest.importorskip("ray", reason="needs the extra ray")
from lm_gym.agents.algorithms.ray_batch_sharing import RayBatchSharing  # noqa: E402
from tests.clusters import two_nodes  # noqa: E402


@pytest.fixture(scope="module")
def workers():
    """One worker on each of two nodes, used by one agent after another in all tests."""
    with two_nodes() as cluster, RayBatchSharing(2, cluster.address, checksum_every=2) as sharing:
        yield sharing


def test_learning_on_two_nodes_and_going_on_without_them(names, workers, tmp_path):
    alone = build(names, REINFORCE, samples=4).learn(10**9, callback=Stop(6))
    agent = build(names, REINFORCE, samples=4)
    agent.sharing = workers
    agent.learn(10**9, callback=Stop(4)).save(tmp_path / "agent")
    assert workers.logs()["ray/workers"] == 2
    resumed = REINFORCE.load(tmp_path / "agent", env=agent.env, device="cpu")
    resumed.learn(10**9, callback=Stop(2), reset_num_timesteps=False)
    for ours, theirs in zip(resumed.policy.parameters(), alone.policy.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("at_end", [False, True])
def test_an_error_names_the_worker_and_what_failed(names, workers, at_end):
    agent = build(names, Broken)
    agent.home, agent.at_end = os.getpid(), at_end
    agent.sharing = workers
    with pytest.raises(WorkerError, match=r"^worker \d \(pid \d+ on [\d.]+\): ValueError: no such tag$"):
        agent.learn(10**9, callback=Stop(4))


def test_a_worker_that_dies_is_named_and_the_agent_goes_on(names, workers):
    agent = build(names, Supervised)
    agent.sharing = workers
    agent.learn(10**9, callback=Stop(2))
    place = workers.places[1]
    os.kill(int(place.split()[1]), signal.SIGKILL)
    with pytest.raises(WorkerError, match=rf"^worker 1 \({place}\) has died: "):
        agent.learn(10**9, callback=Stop(4), reset_num_timesteps=False)
    agent.learn(10**9, callback=Stop(1), reset_num_timesteps=False)  # with others
    assert place not in workers.places
