"""The search for settings on validation: Optuna's trials, stopped, resumed and recorded."""

import csv
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lm_gym.agents import compare
from lm_gym.agents.compare.progress import StudyProgress
from lm_gym.agents.compare.runs import Job, Runs
from lm_gym.agents.compare.search import Search
from lm_gym.agents.compare.trials import TRIAL_SEED, chosen_settings, read_trials, trials_of
from lm_gym.agents.runs.settings import SettingsError
from tests.runs import write_corpus
from tests.studies import write_run, write_study

RATE = {"agent.learning_rate": {"low": 1e-4, "high": 1e-1}}
Curve = Callable[[Mapping[str, Any]], list[float]]


def plan_of(folder: Path, rows: dict[str, object], trials: int, **more: object) -> compare.Plan:
    study = write_study(folder / "study.yaml", rows, **more)
    return compare.parse_plan([str(study), f"--out={folder / 'out'}", f"--trials={trials}"])[0]


def search_of(plan: compare.Plan) -> Search:
    return Search(plan.study, plan.out, list(plan.study.rows.values()), plan.trials, plan.trial)


def near(settings: Mapping[str, Any]) -> list[float]:
    """Return a metric that is best at a learning rate of 0.003, and 0.5 if none is given."""
    rate = settings.get("agent.learning_rate")
    return [0.0, 0.5 if rate is None else 1 / (1 + abs(rate / 0.003 - 1))]


def settings_of(job: Job) -> dict[str, Any]:
    pairs = dict(zip(job.options[::2], job.options[1::2], strict=True))
    names = ("agent.learning_rate", "agent.samples")
    return {name: json.loads(pairs[f"--{name}"]) for name in names if f"--{name}" in pairs}


def end(search: Search, job: Job, curve: Curve = near) -> Job | None:
    """Finish a trial with this curve on validation, and the opposite ranking on test."""
    values = curve(settings_of(job))
    if not job.folder.exists():
        write_run(job.folder, "reinforce", values, 10, 10, 1 - values[-1])
        (job.folder / "config.yaml").unlink()  # the folder of a real run has its settings
    return search.ended(job, None)


def play(search: Search, curve: Curve = near) -> None:
    """Run every trial to its end, beginning with the last row."""
    pending = search.first()
    while pending:
        following = end(search, pending.pop(), curve)
        pending += [] if following is None else [following]
    search.record()


def drawn(plan: compare.Plan) -> list[tuple[str, dict[str, Any]]]:
    return [(line["row"], json.loads(line["settings"])) for line in read_trials(plan.out)]


def test_search_chooses_on_validation_and_never_on_test(tmp_path: Path) -> None:
    search = {"agent.samples": [2, 4, 8], "agent.learning_rate": {"low": 1e-4, "high": 1e-2}}
    plan = plan_of(tmp_path, {"a": {"search": search}, "b": {}}, 4)
    trials = search_of(plan)
    (job,) = trials.first()
    assert (job.row, job.seed, trials.total, trials.done) == ("a", TRIAL_SEED, 4, 0)
    assert settings_of(job) == {}  # the settings of the row are a trial
    play(trials)
    (row, first), *others = drawn(plan)
    assert (row, first) == ("a", {})
    assert all(s["agent.samples"] in (2, 4, 8) and 1e-4 <= s["agent.learning_rate"] <= 1e-2 for _, s in others)
    values = [float(line["validation/entity_f1"]) for line in read_trials(plan.out)]
    assert values == pytest.approx([near(settings)[-1] for _, settings in drawn(plan)])
    best = drawn(plan)[values.index(max(values))][1]
    assert chosen_settings(plan.out) == {"a": best}
    (job,) = {job for job in plan.jobs_of([plan.study.rows["a"]]) if job.seed == 0}
    assert settings_of(job) == best


def test_of_equal_trials_the_first_is_chosen(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"a": {"search": {"agent.samples": [2, 4, 8]}}}, 3)
    play(search_of(plan), lambda _: [0.0, 0.5])
    assert chosen_settings(plan.out) == {"a": {}}


def test_less_is_better_if_the_metric_says_so(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"a": {"search": RATE}}, 3, metric="cross_entropy")

    def curve(settings: Mapping[str, Any]) -> list[float]:
        return [2.0, 1.0 if settings else 0.5]

    trials = search_of(plan)
    pending = trials.first()
    while pending:
        (job,) = pending
        value = curve(settings_of(job))[-1]
        job.folder.mkdir(parents=True)
        (job.folder / "report.json").write_text(json.dumps({"metrics": {"validation": {"cross_entropy": value}}}))
        following = trials.ended(job, None)
        pending = [] if following is None else [following]
    trials.record()
    assert chosen_settings(plan.out) == {"a": {}}


def test_a_search_that_is_killed_after_every_step_has_the_trials_of_one_that_is_not(tmp_path: Path) -> None:
    rows: dict[str, object] = {"a": {"search": {**RATE, "agent.samples": [2, 4, 8]}}, "b": {"search": RATE}}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = (plan_of(tmp_path / name, rows, 8) for name in ("whole", "killed"))
    play(search_of(whole))
    steps = 0
    while pending := search_of(killed).first():
        again = search_of(killed)
        assert again.first() == pending  # the trials that were running continue
        end(again, pending[0])  # those of the first row first, one process at a time
        steps += 1
    again = search_of(killed)
    again.record()
    assert (steps, again.done, again.total) == (16, 16, 16)
    assert drawn(killed) == drawn(whole)
    assert trials_of(killed.out) == {"a": 8, "b": 8}
    assert chosen_settings(killed.out) == chosen_settings(whole.out)
    longer = plan_of(tmp_path / "killed", rows, 9)
    play(search_of(longer))
    assert [settings for row, settings in drawn(longer) if row == "a"][:8] == [
        s for row, s in drawn(whole) if row == "a"
    ]


def test_trials_come_closer_to_the_best(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"a": {"search": RATE}}, 24)
    play(search_of(plan))
    values = [float(line["validation/entity_f1"]) for line in read_trials(plan.out)]
    assert sum(values[-10:]) / 10 > sum(values[1:5]) / 4 + 0.1
    assert max(values) > 0.8


def test_the_pruner_stops_a_trial_below_the_median_and_it_counts(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"a": {"search": RATE}}, 6)
    trials = search_of(plan)
    (job,) = trials.first()
    for value in (0.5, 0.6, 0.7, 0.8):
        following = end(trials, job, lambda _, value=value: [0.0, 0.1, 0.2, 0.3, value])  # type: ignore[misc]
        assert following is not None
        job = following
    write_run(job.folder, "reinforce", [0.0, 0.0, 0.0], 10, 10, None)
    (job.folder / "report.json").unlink()
    (job.folder / "config.yaml").unlink()
    assert not trials.hopeless(job)  # too early
    with (job.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"timesteps": 3, "eval/entity_f1": 0.01}) + '\n{"timesteps": 4, "eval/ent')
    assert trials.hopeless(job)
    again = search_of(plan)  # killed before the trial was recorded
    assert again.first() == [job]
    assert again.hopeless(job)
    following = again.ended(job, None)
    assert following is not None
    assert end(again, following, lambda _: [0.0, 0.1, 0.2, 0.3, 0.75]) is None
    again.record()
    assert [line["state"] for line in read_trials(plan.out)] == ["complete"] * 4 + ["pruned", "complete"]
    assert chosen_settings(plan.out) == {"a": drawn(plan)[3][1]}


def test_failed_trials_count_and_are_named(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"a": {"search": RATE}}, 3)
    trials = search_of(plan)
    (job,) = trials.first()
    following = trials.ended(job, "the loss is nan")
    assert following is not None
    following = end(trials, following)
    assert following is not None
    following.folder.mkdir(parents=True)
    (following.folder / "report.json").write_text(json.dumps({"metrics": {"validation": {"entity_f1": None}}}))
    assert trials.ended(following, None) is None
    trials.record()
    lines = read_trials(plan.out)
    assert [line["state"] for line in lines] == ["fail", "complete", "fail"]
    assert [line["failure"] for line in lines] == ["the loss is nan", "", "entity_f1 is undefined"]
    assert chosen_settings(plan.out) == {"a": drawn(plan)[1][1]}


def test_trials_of_version_0_1_are_read_and_not_continued(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"a": {"search": RATE}}, 2)
    plan.out.mkdir()
    with (plan.out / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["row", "trial", "settings", "seed", "validation/entity_f1", "chosen", "failure"])
        writer.writeheader()
        found = {"row": "a", "seed": TRIAL_SEED, "validation/entity_f1": 0.5, "failure": ""}
        writer.writerow({**found, "trial": 0, "settings": "{}", "chosen": False})
        writer.writerow({**found, "trial": 1, "settings": json.dumps({"agent.learning_rate": 0.02}), "chosen": True})
    with pytest.raises(SettingsError, match="random search by an earlier version: leave --trials out"):
        search_of(plan)
    assert settings_of(plan.jobs_of([plan.study.rows["a"]])[0]) == {"agent.learning_rate": 0.02}
    write_run(plan.out / "a-0", "reinforce", [0.0, 0.5], 10, 10, 0.5)
    compare.main([str(plan.study.path), f"--out={plan.out}", "--report-only"])
    assert "Random search on validation" in (plan.out / "report.md").read_text()


def test_other_ranges_or_settings_than_those_of_the_trials_are_refused(tmp_path: Path) -> None:
    play(search_of(plan_of(tmp_path, {"a": {"search": RATE}}, 2)))
    other = {"agent.learning_rate": {"low": 1e-3, "high": 1e-1}}
    with pytest.raises(SettingsError, match=r"'a' in .* had .*0\.0001.* but the study has .*: give another --out"):
        search_of(plan_of(tmp_path, {"a": {"search": other}}, 2))


def test_a_line_cut_off_by_a_full_disk_is_forgotten(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"a": {"search": RATE}}, 3)
    play(search_of(plan))
    before = drawn(plan)
    with (plan.out / "trials/optuna.journal").open("a") as file:
        file.write('{"op_code": 5, "work')
    again = search_of(plan)
    assert again.first() == []
    again.record()
    assert drawn(plan) == before


class Sleeper(Job):
    """A job that sleeps instead of training."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", "import time; time.sleep(60)"]


class Writer(Job):
    """A job that ends at once."""

    def command(self) -> list[str]:
        code = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'report.json').write_text('{}')"
        return [sys.executable, "-c", code, str(self.folder)]


def test_a_hopeless_process_is_ended_and_the_next_trial_starts(tmp_path: Path) -> None:
    sleeper, writer = Sleeper("a", 0, tmp_path / "a-trial0", ()), Writer("a", 0, tmp_path / "a-trial1", ())
    said: list[tuple[str, str | None]] = []

    class Pruned:
        def hopeless(self, job: Job) -> bool:
            return job is sleeper

        def ended(self, job: Job, failure: str | None) -> Job | None:
            return writer if job is sleeper else None

    Runs(tmp_path, 1, lambda _: None, lambda job, failure: said.append((job.folder.name, failure)), lambda: None).run(
        [sleeper], Pruned()
    )
    assert said == [("a-trial0", None), ("a-trial1", None)]
    assert writer.finished
    assert not sleeper.finished


def test_a_study_with_trials_is_stopped_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_corpus(tmp_path / "people"), tmp_path / "out"
    study = write_study(tmp_path / "study.yaml", {"twin": {"settings": {"algo": "supervised"}, "search": RATE}})
    command = [str(study), f"--dataset={data}", f"--out={out}", "--seeds=1", "--trials=2"]

    def stop(progress: StudyProgress) -> None:
        if (out / "trials/twin-trial1/metrics.jsonl").is_file():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StudyProgress, "waiting", stop)
        with pytest.raises(SystemExit, match="130"):
            compare.main(command)
    compare.main(command)
    assert "[3/3] twin-0" in capsys.readouterr().out
    assert trials_of(out) == {"twin": 2}
    assert (out / "trials/twin-trial1/command.txt").read_text().count("--resume") == 1
    assert "TPE (Optuna) on validation" in (out / "report.md").read_text()
    (chosen,) = chosen_settings(out).values()
    rate = yaml.safe_load((out / "twin-0/config.yaml").read_text())["agent"]["learning_rate"]
    assert rate == chosen.get("agent.learning_rate", 0.001)
