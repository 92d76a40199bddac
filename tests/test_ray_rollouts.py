"""Rollouts of workers on two nodes are those of one process, whichever workers draw them, even if some die."""

import os
import signal
from contextlib import ExitStack

import pytest

from lm_gym.agents import REINFORCE
from lm_gym.agents.algorithms.batch_sharing import ProcessGroup
from lm_gym.agents.algorithms.presets import SNES
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.algorithms.worker_error import WorkerError
from lm_gym.agents.runs.cluster import check_workers, use_workers
from lm_gym.agents.runs.settings import RaySettings, SettingsError
from tests.disturbed import Unlucky
from tests.rollouts import assert_same, build, learned

ray = pytest.importorskip("ray", reason="needs the extra ray")
from lm_gym.agents.algorithms.ray_rollouts import RayRollouts  # noqa: E402
from tests.clusters import two_nodes  # noqa: E402


@pytest.fixture(scope="module")
def workers():
    """Workers on two nodes, used by one agent after another in all tests."""
    with two_nodes(2) as cluster, RayRollouts(1, cluster.address) as rollouts:
        yield rollouts


def apart(agent, workers, updates):
    agent.rollouts = workers
    return learned(agent, updates)


@pytest.mark.parametrize("case", ["samples", "several steps"])
def test_one_two_and_three_workers_give_the_rollouts_of_one_process(case, names, workers):
    alone = learned(build(names, case, lag=2), 5)
    for number in (1, 2, 3):
        agent = build(names, case, lag=2)
        workers.resize(number)
        workers.wait(agent)
        assert len(workers.places) == number
        assert_same(apart(agent, workers, 5), alone)
        logged = agent.logger.name_to_value
        assert logged["ray/workers"] == number
        assert logged["ray/bytes_up"] > 0
        assert logged["ray/bytes_down"] > 0


def test_without_lag_the_result_is_that_of_the_policy_itself(names, workers):
    agent = apart(build(names, "samples"), workers, 4)
    assert_same(agent, learned(build(names, "samples"), 4), atol=1e-5)


def test_a_saved_agent_resumes_with_workers_or_without(names, workers, tmp_path):
    whole = learned(build(names, "samples", lag=2), 6)
    apart(build(names, "samples", lag=2), workers, 3).save(tmp_path / "agent")
    for where in (workers, None):
        resumed = REINFORCE.load(tmp_path / "agent", env=build(names, "samples").env, device="cpu")
        resumed = learned(resumed, 6) if where is None else apart(resumed, where, 6)
        assert_same(resumed, whole)


def test_training_that_begins_again_draws_with_its_weights(names, workers):
    alone, agent = build(names, "samples", lag=1), build(names, "samples", lag=1)
    agent.rollouts = workers
    for each in (alone, agent):
        learned(each, 2)
        each.num_timesteps = each._n_updates = 0
        learned(each, 3)
    assert_same(agent, alone)


def test_weights_travel_only_every_few_updates(names, workers):
    agent = build(names, "samples", sync_every=4)
    weights = sum(p.nbytes for p in agent.policy.parameters() if p.requires_grad)
    workers.resize(1)
    agent.rollouts = workers
    workers.wait(agent)
    before = workers.traffic.down
    learned(agent, 8)
    assert 2 * weights < workers.traffic.down - before < 2.5 * weights


def test_a_worker_that_is_killed_costs_nothing_but_time(names, workers, tmp_path):
    alone = learned(build(names, "samples", lag=1), 5)
    agent = build(names, "samples", lag=1, algorithm=Unlucky)
    agent.home, agent.trap = os.getpid(), str(tmp_path / "trap")
    workers.resize(2)
    lost = workers.lost
    (tmp_path / "trap").touch()
    assert_same(apart(agent, workers, 5), alone)
    assert workers.lost == lost + 1
    assert not (tmp_path / "trap").exists()


def test_a_worker_killed_between_rollouts_is_replaced(names, workers):
    workers.resize(2)
    agent = build(names, "samples", lag=1)
    agent.rollouts = workers
    workers.wait(agent)
    lost, place = workers.lost, workers.places[0]
    learned(agent, 2)
    os.kill(int(place.split()[1]), signal.SIGKILL)
    learned(agent, 6)
    assert_same(agent, learned(build(names, "samples", lag=1), 6))
    assert workers.lost == lost + 1
    assert place not in workers.places


def test_an_error_names_the_worker_and_what_failed_and_the_agent_goes_on(names, workers, tmp_path):
    agent = build(names, "samples", lag=1, algorithm=Unlucky)
    agent.home, agent.trap, agent.dies = os.getpid(), str(tmp_path / "trap"), False
    (tmp_path / "trap").touch()
    with pytest.raises(WorkerError, match=r"^worker \d+ \(pid \d+ on [\d.]+\): ValueError: no such tag$"):
        apart(agent, workers, 5)
    assert_same(learned(agent, 5), learned(build(names, "samples", lag=1), 5))


@pytest.mark.parametrize(
    ("algo", "algorithm", "given", "message"),
    [
        ("reinforce", REINFORCE, {"workers": 2, "rollout_workers": 1}, "give one of them"),
        ("snes", SNES, {"rollout_workers": 1}, r"which snes cannot learn from: leave it out, or take reinforce$"),
        ("supervised", Supervised, {"rollout_workers": 1}, "which supervised cannot learn from"),
        ("reinforce", REINFORCE, {"gpus": 1}, "gpus is set without workers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(algo, algorithm, given, message):
    with pytest.raises(SettingsError, match=message) as error:
        check_workers(RaySettings(**given), algo, algorithm)
    assert "\n" not in str(error.value)


def test_an_agent_that_draws_no_samples_is_refused(names, workers):
    agent = build(names, "samples", samples="all")
    with ExitStack() as held, pytest.raises(SettingsError, match=r"draw samples, but samples='all' learns from every"):
        use_workers(RaySettings(rollout_workers=1), agent, held)
    agent.rollouts = workers
    with pytest.raises(ValueError, match=r"draw samples, but samples=.all. .*; or leave agent.rollouts as it is$"):
        learned(agent, 1)


def test_a_batch_shared_by_other_processes_is_refused(names, workers):
    agent = build(names, "samples")
    agent.rollouts, agent.sharing = workers, ProcessGroup(0, 2)
    with pytest.raises(ValueError, match=r"leave agent\.sharing as it is"):
        learned(agent, 1)
