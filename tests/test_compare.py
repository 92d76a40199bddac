"""Comparisons: a tiny study end to end, refused studies, and statistics against hand-computed numbers."""

import csv
import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lm_gym.agents import compare
from lm_gym.agents.compare.charts import _apart, _groups, _short, charts
from lm_gym.agents.compare.progress import StudyProgress
from lm_gym.agents.compare.report import CAPTIONS, _amount, _chosen_by
from lm_gym.agents.compare.results import read_results
from lm_gym.agents.compare.runs import Job, Runs, read_failures
from lm_gym.agents.compare.statistics import (
    improvement_interval,
    iqm,
    iqm_interval,
    on_grid,
    performance_profile,
    probability_of_improvement,
)
from lm_gym.agents.compare.study import Row, options, read_study
from lm_gym.agents.compare.tables import cost_table, goal, main_table
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.agents.runs.terminal import Terminal
from tests.runs import write_corpus
from tests.studies import Said, write_run, write_study

CONFIGS = Path(__file__).parents[1] / "configs/compare"
TWIN = {"settings": {"algo": "supervised"}}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------ a study, end to end


def test_a_study_is_stopped_goes_on_and_is_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_corpus(tmp_path / "people"), tmp_path / "out"
    rows = {"twin": TWIN, "es": {"settings": {"algo": "es", "agent.optimizer_kwargs.popsize": 4}, "start": "twin"}}
    study = write_study(tmp_path / "study.yaml", rows)
    command = [str(study), f"--dataset={data}", f"--out={out}", "--seeds=2"]

    def stop(progress: StudyProgress) -> None:
        if (out / "twin-0/metrics.jsonl").is_file():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StudyProgress, "waiting", stop)
        with pytest.raises(SystemExit, match="130"):
            compare.main(command)
    assert not (out / "twin-0/report.json").exists()
    compare.main([*command, "--jobs=2"])
    assert "[4/4]" in capsys.readouterr().out
    assert (out / "twin-0/command.txt").read_text().count("--resume") == 1
    lines = read_csv(out / "results.csv")
    assert [(line["row"], line["seed"], line["status"]) for line in lines] == [
        *(("twin", "0", "finished"), ("twin", "1", "finished"), ("es", "0", "finished"), ("es", "1", "finished")),
    ]
    assert [line["equivalents"] for line in lines] == ["72", "72", "80", "80"]  # a generation is 16 forward passes
    model = yaml.safe_load((out / "es-1/config.yaml").read_text())["policy"]["model"]
    assert model == str(out / "twin-1/best")  # of its seed
    page = (out / "report.html").read_text()
    assert len(re.findall("data:image/svg", page)) == 5
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "B-PER" in page  # the report by tag
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-[01]/*")}
    compare.run_study(compare.parse_plan(command)[0], Terminal())
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*-[01]/*")}
    write_study(study, {"twin": {"settings": {"algo": "supervised", "agent.learning_rate": 0.5}}})
    with pytest.raises(SystemExit, match="2"):
        compare.main(command)
    assert "agent.learning_rate 0.001, but the study has 0.5" in capsys.readouterr().err


def test_a_run_that_fails_is_kept_and_the_study_goes_on(tmp_path: Path) -> None:
    fails = "import sys; sys.stderr.write('a trace\\nthe loss is nan\\n'); sys.exit(2)"
    works = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'report.json').write_text('{}')"
    jobs = [Said("a", 0, tmp_path / "a-0", (fails,)), Said("b", 0, tmp_path / "b-0", (works,))]
    jobs.append(Said("c", 0, tmp_path / "c-0", (works,), start=tmp_path / "a-0/best"))
    ended: list[tuple[str, str | None]] = []

    def run(*jobs: Job) -> dict[str, str]:
        runs = Runs(tmp_path, 1, lambda job: None, lambda job, failure: ended.append((job.row, failure)), lambda: None)
        runs.run(jobs)
        return read_failures(tmp_path)

    missing = f"the model that it starts from is missing: {tmp_path / 'a-0/best'}"
    assert run(*jobs) == {"a-0": "the loss is nan", "c-0": missing}
    assert ended == [("a", "the loss is nan"), ("b", None), ("c", missing)]
    assert run(Said("a", 0, tmp_path / "a-0", (works,)), *jobs[1:]) == {"c-0": missing}  # b is not tried again
    assert ended[3:] == [("a", None), ("c", missing)]


def test_failures_and_rows_that_did_not_run_this_time_stay_in_the_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    study = write_study(tmp_path / "study.yaml", {"twin": TWIN, "ppo, 4": {}, "es": {"settings": {"algo": "es"}}})
    write_run(out / "twin-0", "supervised", [0.0, 1.0], 300, 300, 0.8)
    write_run(out / "ppo__4-0", "ppo", [0.0, 0.6], 300, 300, 0.7)
    (out / "failed.json").write_text(json.dumps({"ppo__4-1": "out of memory", "es-0": "no <such> space"}))
    compare.main([str(study), f"--out={out}", "--report-only", f"--publish={tmp_path / 'docs'}"])
    assert "(study/scores.png)" in (tmp_path / "docs/study.md").read_text()
    assert (tmp_path / "docs/study/scores.png").is_file()
    text = (out / "report.md").read_text()
    assert "| twin | 0.800 (one seed) |" in text
    assert "| ppo, 4 (1 of 2 runs failed) | 0.700 (one seed) |" in text
    assert "| es | failed: no <such> space |" in text
    page = (out / "report.html").read_text()
    assert "no &lt;such&gt; space" in page
    assert '<meta name="viewport" content="width=device-width' in page
    assert "prefers-color-scheme: dark" in page
    charts = [b64decode(found).decode() for found in re.findall('src="data:image/svg.xml;base64,([^"]*)"', page)]
    assert len(charts) == len(CAPTIONS)
    assert not any("fill: #ffffff" in chart for chart in charts)  # charts are transparent
    statuses = [(line["row"], line["seed"], line["status"], line["failure"]) for line in read_csv(out / "results.csv")]
    assert statuses[1:] == [
        ("ppo, 4", "0", "finished", ""),
        ("ppo, 4", "1", "failed", "out of memory"),
        ("es", "0", "failed", "no <such> space"),
    ]
    board = EventAccumulator(str(out / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert set(board.Tags()["images"]) == {f"study/{name}" for name in CAPTIONS}
    hparams = EventAccumulator(str(out / "tensorboard/runs/twin-0")).Reload()
    assert hparams.SummaryMetadata("_hparams_/experiment").plugin_data.plugin_name == "hparams"
    assert hparams.Scalars("study/entity_f1")[0].value == pytest.approx(0.8)


# ------------------------------------------------------------------ refused studies and options


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        ({"a": {"confg": "x.yaml"}}, {}, "row 'a': unknown key 'confg' (did you mean 'config'?)"),
        ({"a": {"config": "none.yaml"}}, {}, "row 'a': no file"),
        ({"a": {"settings": {"agent.sampels": 4}}}, {}, "row 'a': no setting 'agent.sampels'"),
        ({"a": {"settings": {"agent.samples": 0}}}, {}, "row 'a': agent.samples"),
        ({"a": {"settings": {"env.dataset": "buildin"}}}, {}, "no dataset 'buildin'"),
        ({"a": {"start": "b"}}, {}, "row 'a' starts from unknown row 'b'"),
        ({"a": {"start": "b"}, "b": {"start": "a"}}, {}, "rows start from one another: a ← b ← a"),
        ({"a b": {}, "a_b": {}}, {}, "would have the same folders"),
        ({"a": {"budget": {"second": 4}}}, {}, "unknown budget 'second' (did you mean 'seconds'?)"),
        ({"a": {"budget": {"seconds": -4}}}, {}, "budget.seconds must be above 0"),
        ({"a": {"seeds": 0}}, {}, "seeds must be at least 1"),
        ({"a": {"search": {"agent.learning_rate": {"low": 0, "high": 1}}}}, {}, "0 < low < high"),
        ({"a": {}}, {"metric": "entity_f2"}, "'entity_f1'"),
        ({"a": {}}, {"twin": "b"}, "twin 'b' is not a row"),
        ({"a": {}}, {"titel": "x"}, "unknown key 'titel' (did you mean 'title'?)"),
        ({}, {}, "rows is missing"),
    ],
)
def test_bad_studies_are_refused_before_any_run(
    rows: dict[str, object], more: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "study.yaml", rows, **more)
    with pytest.raises(SystemExit, match="2"):
        compare.main([str(study), f"--out={tmp_path / 'out'}"])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sedes=2"], "(did you mean 'seeds'?)"),
        (["--seeds=0"], "seeds must be at least 1, got 0"),
        (["--jobs=many"], "jobs"),
        (["--rows=ppo"], "no row begins with 'ppo': the study has 'a'"),
        (["--report-only"], "has no finished run"),
    ],
)
def test_bad_options_are_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "study.yaml", {"a": {}})
    with pytest.raises(SystemExit, match="2"):
        compare.main([str(study), f"--out={tmp_path / 'out'}", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_are_read(path: Path) -> None:
    study = read_study(path)
    assert f"configs/compare/{path.name}" in path.read_text()
    for level in study.levels(list(study.rows)):
        for row in level:
            assert all(config.is_file() for config in row.configs)
    assert sum(map(len, study.levels(list(study.rows)))) == len(study.rows)


def test_options_fold_what_lies_deep_and_the_row_wins() -> None:
    settings = {"agent.optimizer_kwargs.popsize": 8, "agent.optimizer_kwargs.sigma": 0.1, "env.dataset": "mine"}
    row = Row("x", (Path("a.yaml"),), settings, {"seconds": 5})
    given = {"env.dataset": "yours", "policy.model": "m"}
    found = options(row, given, Path("best"), {"agent.optimizer_kwargs.sigma": 0.2})
    pairs = dict(zip(found[::2], found[1::2], strict=True))
    assert json.loads(pairs["--agent.optimizer_kwargs"]) == {"popsize": 8, "sigma": 0.2}
    assert (pairs["--env.dataset"], pairs["--policy.model"], pairs["--budget.seconds"]) == ("mine", "best", "5")


# ------------------------------------------------------------------ hand-computed numbers


def test_interquartile_mean() -> None:
    assert iqm(np.array([1.0, 2.0, 6.0])) == 3.0  # fewer than four: the mean
    assert iqm(np.array([100.0, 2.0, 4.0, -50.0])) == 3.0
    assert iqm(np.array([9.0, 1.0, 2.0, 3.0, -7.0])) == 2.0
    assert iqm(np.array([[1.0, 3.0], [5.0, 7.0]]), axis=0).tolist() == [3.0, 5.0]


def test_intervals_hold_the_mean_and_shrink_with_runs() -> None:
    low, high = iqm_interval(np.array([0.0, 1.0]))
    assert (low, high) == (0.0, 1.0)  # both draws alike, each with probability 1/4
    assert iqm_interval(np.full(5, 0.7)).tolist() == pytest.approx([0.7, 0.7])
    few, many = (np.random.default_rng(0).normal(size=n) for n in (8, 200))
    assert np.ptp(iqm_interval(many)) < np.ptp(iqm_interval(few))
    assert iqm_interval(np.zeros((3, 7))).shape == (2, 7)
    with pytest.raises(ValueError, match="at least 2 runs, got 1"):
        iqm_interval(np.array([1.0]))


def test_probability_of_improvement() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    assert probability_of_improvement(x, y) == pytest.approx((1 + 1.5 + 2) / 6)
    assert probability_of_improvement(x, x) == 0.5
    assert improvement_interval(x + 10, y).tolist() == [1.0, 1.0]


def test_profile_and_curves() -> None:
    scores = np.array([0.2, 0.5, 0.5, 0.9])
    assert performance_profile(scores, np.array([0.1, 0.5, 0.6, 1.0])).tolist() == [1.0, 0.75, 0.25, 0.0]
    grid, values = on_grid(
        [np.array([0.0, 10.0]), np.array([0.0, 4.0, 8.0])], [np.array([0.0, 1.0]), np.array([0.0, 1.0, 3.0])], 3
    )
    assert grid.tolist() == [0.0, 4.0, 8.0]
    assert values.tolist() == [[0.0, 0.4, 0.8], [0.0, 1.0, 3.0]]
    assert _apart([0.5, 0.49, 0.9], 0.1) == pytest.approx([0.59, 0.49, 0.9])


def test_runs_start_from_the_model_of_their_seed_or_from_the_only_one(tmp_path: Path) -> None:
    rows = {"one": {**TWIN, "seeds": 1}, "all": TWIN, "a": {"start": "one"}, "b": {"start": "all"}}
    path = write_study(tmp_path / "study.yaml", rows)
    plan, _ = compare.parse_plan([str(path), "--seeds", "2", "--out", str(tmp_path / "out")])
    starts = {job.folder.name: job.start for job in plan.jobs_of(list(plan.study.rows.values()))}
    assert {name: start and start.parent.name for name, start in starts.items()} == {
        "one-0": None, "all-0": None, "all-1": None, "a-0": "one-0", "a-1": "one-0", "b-0": "all-0", "b-1": "all-1",
    }  # fmt: skip
    trial = plan.trial(plan.study.rows["b"], 0, {})
    assert trial.start == tmp_path / "out/all-0/best"

    write_run(tmp_path / "out/all-0", "supervised", [0.0, 1.0], 300, 300, 0.8)
    write_run(tmp_path / "out/all-1", "supervised", [0.0, 1.0], 100, 100, 0.8)
    write_run(tmp_path / "out/b-1", "reinforce", [0.5, 0.95], 10, 10, 0.9)
    results = read_results(plan.study, tmp_path / "out")
    assert [run.folder.name for run in results.before(results.finished["b"][0])] == ["all-1"]


def test_labels_that_would_overlap_are_one() -> None:
    marks = [("untrained", 0.026), ("random", 0.028), ("majority", 0.018), ("zero-shot", 0.5)]
    assert _groups(marks, 0.03) == [("majority, untrained, random", 0.028), ("zero-shot", 0.5)]
    assert [name for name, _ in _groups(marks, 0.001)] == ["majority", "untrained", "random", "zero-shot"]
    assert [_short(value) for value in (0, 300, 30_000, 3_000_000)] == ["0", "300", "30k", "3M"]


def test_cost_until_nine_tenths_of_the_twin(tmp_path: Path) -> None:
    rows = {"twin": TWIN, "late": {"start": "twin"}, "never": {"settings": {"algo": "es"}}}
    study = read_study(write_study(tmp_path / "study.yaml", rows))
    write_run(tmp_path / "out/twin-0", "supervised", [0.0, 0.5, 0.95, 1.0], 300, 300, 0.8)
    write_run(tmp_path / "out/late-0", "reinforce", [0.5, 0.95], 10, 10, 0.9)
    write_run(tmp_path / "out/never-0", "es", [0.0, 0.4], 500, 0, 0.3)
    results = read_results(study, tmp_path / "out")
    bound = goal(results)
    assert bound == pytest.approx(0.9)
    assert cost_table(results, bound).rows == [
        ["twin", "1 of 1", "600", "6.7", "514"],  # two thirds of 900 equivalents and of 10 s
        ["late", "1 of 1", "930", "20", "513"],  # including the 900 of the twin
        ["never", "0 of 1", "not reached (best 0.400)", "", ""],
    ]
    for chart, began in (("equivalents", 900), ("seconds", 10)):  # "late" begins after the whole run of the twin
        lines = [line.get_xdata() for line in charts(results)[chart].axes[0].lines]
        assert [float(line[0]) for line in lines] == [0, began, 0]


def test_the_report_names_rows_that_choose_their_model_otherwise(tmp_path: Path) -> None:
    last, by_accuracy = {"evaluation.keep": "last"}, {"evaluation.metric": "token_accuracy"}
    rows = {"twin": TWIN, "a": {"settings": last}, "b": {"settings": last}, "c": {"settings": by_accuracy}}
    found = _chosen_by(read_study(write_study(tmp_path / "study.yaml", rows, shown=["heads_kept"])))
    assert found == "entity F1 on validation; that of 'a', 'b' is the last one; that of 'c' is chosen by token acc."


def test_a_metric_that_a_row_has_not_is_left_empty(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "study.yaml", {"twin": TWIN}, shown=["heads_kept"]))
    write_run(tmp_path / "out/twin-0", "supervised", [0.0, 1.0], 300, 300, 0.8)
    table = main_table(read_results(study, tmp_path / "out"))
    assert table.rows[-1][:3] == ["twin", "0.800 (one seed)", ""]


def test_rows_to_beat_are_means_over_the_seeds_of_the_others_and_every_chosen_pass_is_shown(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "study.yaml", {"twin": TWIN}))
    for seed, untrained in enumerate((0.1, 0.2, 0.6)):
        folder = tmp_path / f"out/twin-{seed}"
        write_run(folder, "supervised", [0.0, 1.0], 300, 300, 0.8)
        report = json.loads((folder / "report.json").read_text())
        report["baselines"]["untrained"] = {"entity_f1": untrained, "token_accuracy": None}
        report["chosen"]["pass"] = 1.0 + seed
        (folder / "report.json").write_text(json.dumps(report))
    table = main_table(read_results(study, tmp_path / "out"))
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["untrained model"]["entity F1"].startswith("0.300 [")
    assert rows["untrained model"]["token acc."] == ""
    assert rows["majority"]["entity F1"] == "0.300"
    assert rows["twin"]["chosen pass"] == "1.00, 2.00, 3.00"


@pytest.mark.parametrize(
    ("budget", "amount", "words"),
    [("passes", 1, "1 pass"), ("passes", 0.5, "0.5 passes"), ("forward_passes", 2_000_000, "2,000,000 forward passes")],
)
def test_budgets_are_told_in_words(budget: str, amount: float, words: str) -> None:
    assert _amount(budget, amount) == words


def test_start_rows_come_first_and_too_few_rows_are_enough(tmp_path: Path) -> None:
    rows = {"c": {"start": "b"}, "b": {"start": "a"}, "a": {}, "d": {}}
    study = read_study(write_study(tmp_path / "study.yaml", rows))
    assert [[row.name for row in level] for level in study.levels(["c"])] == [["a"], ["b"], ["c"]]
    assert [[row.name for row in level] for level in study.levels(["d"])] == [["d"]]
    assert study.chain("c") == ["a", "b", "c"]
    (tmp_path / "study.yaml").write_text("a: [")
    with pytest.raises(SettingsError, match="is not YAML"):
        read_study(tmp_path / "study.yaml")
