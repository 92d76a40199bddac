"""The limits of `make soak`, on known numbers."""

import pytest

from lm_gym.tasks import TASKS
from tests.faults import write_records
from tests.soak import LIMITS, MIX, WARM_UP, judge, take_turn

USUAL = {"memory_mb": 500.0, "files": 20, "threads": 3, "cpu_ms": 9.0, "folder_kb": 900.0, "curve_bytes": 300.0}


def rows(key=None, growth=0.0):
    """Return forty turns of two agents; one number of the second agent grows."""
    return [
        {"agent": agent, **USUAL, **({key: USUAL[key] + growth * turn} if key and agent == "b" else {})}
        for turn in range(40)
        for agent in ("a", "b")
    ]


def test_what_stays_the_same_is_flat():
    assert {key: flat for key, (_, _, flat) in judge(rows()).items()} == dict.fromkeys(LIMITS, True)


@pytest.mark.parametrize(("key", "growth"), [("memory_mb", 2.0), ("files", 0.2), ("threads", 0.2), ("cpu_ms", 2.0),
                                             ("folder_kb", 5.0), ("curve_bytes", 4.0)])  # fmt: skip
def test_what_grows_in_one_agent_is_found(key, growth):
    assert [name for name, (_, _, flat) in judge(rows(key, growth)).items() if not flat] == [key]


def test_growth_while_it_warms_up_is_left_out():
    warming = rows()
    for row in warming[: 2 * WARM_UP]:
        row["memory_mb"] = 100.0
    assert judge(warming)["memory_mb"][2]


def test_two_turns_of_an_agent_are_measured(tmp_path):
    name = "headlines-supervised"
    _, env_id, _ = MIX[name]
    (task,) = (task for task in TASKS.values() if task.env_id == env_id)
    write_records(task, tmp_path / "data" / env_id.rpartition("/")[2], 12)
    first, second = (take_turn(name, passes, tmp_path, 0.0) for passes in (1, 2))
    assert first.agent == second.agent == name
    assert first.step_ms > 0
    assert first.cpu_ms > 0
    assert 0 < first.folder_kb <= second.folder_kb
    assert first.memory_mb > 100
