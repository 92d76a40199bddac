"""Studies whose runs are spread over two nodes of a Ray cluster."""

from pathlib import Path

import pytest

from lm_gym.agents import compare
from lm_gym.agents.compare.runs import Runs, read_failures
from lm_gym.agents.runs.settings import SettingsError
from tests.faults import differences
from tests.runs import write_corpus
from tests.studies import Said, write_study

ray = pytest.importorskip("ray", reason="needs the extra ray")
from lm_gym.agents.compare.ray_processes import RayLauncher  # noqa: E402
from tests.clusters import two_nodes  # noqa: E402

# A job that ends when the other one has begun, or after five minutes: two nodes with one CPU each run both at a time.
MEETS = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
other = folder.with_name({"a-0": "b-0", "b-0": "a-0"}[folder.name])
deadline = time.monotonic() + 300
while not other.is_dir() and time.monotonic() < deadline:
    time.sleep(0.05)
if other.is_dir():
    (folder / "report.json").write_text("{}")
"""
LOSES_ITS_WORKER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
if folder.is_dir():
    (folder / "report.json").write_text("{}")
else:
    folder.mkdir()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
"""
FAILS = "import sys; sys.stderr.write('a trace\\nthe loss is nan\\n'); sys.exit(2)"
LASTS = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).mkdir(); time.sleep(600)"


@pytest.fixture(scope="module")
def cluster():
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def launcher(cluster):
    with RayLauncher(cluster.address, 2) as made:
        yield made


def run(out: Path, launcher, *jobs, waiting=lambda: None):
    Runs(out, 2, lambda job: None, lambda job, failure: None, waiting, launcher).run(jobs)
    return read_failures(out)


def test_runs_are_spread_over_the_nodes_and_failures_are_those_of_the_runs(tmp_path, launcher):
    jobs = [Said(name, 0, tmp_path / f"{name}-0", (MEETS,)) for name in ("a", "b")]
    jobs.append(Said("c", 0, tmp_path / "c-0", (FAILS,)))
    assert run(tmp_path, launcher, *jobs) == {"c-0": "the loss is nan"}
    assert [job.finished for job in jobs] == [True, True, False]


def test_a_run_that_loses_its_worker_starts_again(tmp_path, launcher):
    job = Said("a", 0, tmp_path / "a-0", (LOSES_ITS_WORKER,))
    assert run(tmp_path, launcher, job) == {}
    assert job.finished


def test_a_stopped_study_ends_its_runs(tmp_path, launcher):
    job = Said("a", 0, tmp_path / "a-0", (LASTS,))

    def stop():
        if job.folder.is_dir():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, launcher, job, waiting=stop)
    meets = [Said(name, 0, tmp_path / "next" / f"{name}-0", (MEETS,)) for name in ("a", "b")]
    assert run(tmp_path / "next", launcher, *meets) == {}  # both nodes are available again


def test_a_node_that_does_not_share_the_folder_is_named(tmp_path, launcher, monkeypatch):
    monkeypatch.setattr(Path, "touch", lambda path: None)
    failed = run(tmp_path, launcher, Said("a", 0, tmp_path / "a-0", (MEETS,)))
    assert failed["a-0"].endswith(f"does not see {tmp_path}: give an --out that all nodes share")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--ray=far away"], "give local, auto or HOST:PORT"),
        (["--ray-gpus=1"], "--ray-gpus 1 is set without --ray"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        compare.parse_plan(["ner_builtin", *given])


@pytest.mark.slow
def test_a_study_on_a_cluster_gives_the_results_of_one_machine(tmp_path, cluster, launcher):
    data = write_corpus(tmp_path / "people")
    rows = {"twin": {"settings": {"algo": "supervised"}}, "reinforce": {"settings": {"agent.samples": 4}}}
    command = [str(write_study(tmp_path / "study.yaml", rows)), f"--dataset={data}", "--seeds=1", "--jobs=2"]
    compare.main([*command, f"--out={tmp_path / 'here'}"])
    compare.main([*command, f"--out={tmp_path / 'there'}", f"--ray={cluster.address}"])
    for row in rows:
        assert differences(tmp_path / "here" / f"{row}-0", tmp_path / "there" / f"{row}-0") == []
    assert (tmp_path / "there/report.html").is_file()
