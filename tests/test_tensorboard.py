"""TensorBoard's view of a run, read through its own HTTP interface."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from tensorboard import default, program

from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.runs.curve import OVER_EQUIVALENTS, read_metrics
from lm_gym.agents.runs.hparams import COLUMNS, hparams, metric_tags, run_name
from lm_gym.agents.train import main
from lm_gym.tasks import NER, MaskedLM
from tests.runs import train, write_corpus

CELL = re.compile(r"<td>((?:(?!<td>).)*?)</td>", re.S)  # not nested: TensorBoard adds an outer table
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tagger by REINFORCE, and a masked LM by its twin."""
    folder = tmp_path_factory.mktemp("runs")
    train(write_corpus(folder / "data" / "people"), folder / "runs" / "tags", "--budget.passes=1", "--seed=3")
    texts = folder / "data" / "train.txt"
    texts.write_text("".join(f"the {kind} cat | _sat_ `on` the mat\n" for kind in ("red", "old", "big", "wet", "sad")))
    options = ("--algo=es", "--env.id=lm_gym/MaskedLM-v0", "--agent.search_space=bias", "--env.mask_probability=0.5")
    more = ("--env.num_envs=2", "--budget.timesteps=100", "--device=cpu", "--log_interval=1")
    main([*options, *more, f"--env.dataset={texts}", f"--run_dir={folder / 'runs' / 'masks'}"])
    return folder / "runs"


@pytest.fixture(scope="module")
def ask(runs: Path) -> Any:
    """Start TensorBoard on a free port; return a function that sends a request to a path."""
    board = program.TensorBoard(default.get_plugins())
    once = ("--load_fast=false", "--reload_task=blocking", "--reload_interval=0")  # all events are loaded first
    board.configure(argv=[None, f"--logdir={runs}", "--port=0", *once])
    url = board.launch()

    def ask(path: str, body: Any = None, **arguments: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{url}data/{path}?{urlencode(arguments)}", data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    return ask


@pytest.mark.parametrize("run", ["tags", "masks"])
def test_scalars_are_those_of_the_curve(run: str, runs: Path, ask: Any) -> None:
    rows = read_metrics(runs / run / "metrics.jsonl")
    tags = ask("plugin/scalars/tags")[f"{run}/tensorboard"]
    in_curve = {tag for row in rows for tag in row} - {"timesteps"}
    left_out = {"time/time_elapsed", "time/total_timesteps", "train/n_updates"}  # the horizontal axis shows it
    over = {tag for tag in tags if OVER_EQUIVALENTS in tag}
    assert set(tags) - over == in_curve - left_out
    assert {tag.replace(OVER_EQUIVALENTS, "") for tag in over} == {
        t for t in tags if t.startswith(("eval/", "rollout/"))
    }
    for tag in set(tags) - over:
        points = ask("plugin/scalars/scalars", run=f"{run}/tensorboard", tag=tag)
        assert [step for _, step, _ in points] == [row["timesteps"] for row in rows if tag in row]
        assert [value for *_, value in points] == pytest.approx([row[tag] for row in rows if tag in row])


@pytest.mark.parametrize("run", ["tags", "masks"])
def test_results_and_rewards_are_also_over_equivalents(run: str, runs: Path, ask: Any) -> None:
    rows = read_metrics(runs / run / "metrics.jsonl")
    for tag in ("eval/mean_reward", "rollout/ep_rew_mean"):
        group, _, name = tag.partition("/")
        over = f"{group}{OVER_EQUIVALENTS}/{name}"
        points = ask("plugin/scalars/scalars", run=f"{run}/tensorboard", tag=over)
        logged = [row for row in rows if tag in row]
        spent = [row.get("budget/forward_passes", 0) + 2 * row.get("budget/backward_passes", 0) for row in logged]
        assert [step for _, step, _ in points] == spent
        assert spent[-1] > 0
        assert [value for *_, value in points] == pytest.approx([row[tag] for row in logged])


def test_the_confusion_matrix_is_an_image_where_there_are_labels(runs: Path, ask: Any) -> None:
    images = ask("plugin/images/tags")
    assert list(images) == ["tags/tensorboard"]
    assert list(images["tags/tensorboard"]) == ["eval/confusion"]
    shown = ask("plugin/images/images", run="tags/tensorboard", tag="eval/confusion", sample="0")
    assert [image["step"] for image in shown] == [0, 192]


def test_scalars_come_in_few_groups(ask: Any) -> None:
    tags = {tag for found in ask("plugin/scalars/tags").values() for tag in found}
    groups = {tag.partition("/")[0] for tag in tags}
    over = {f"{group}{OVER_EQUIVALENTS}" for group in ("eval", "rollout")}
    assert groups == {"budget", "eval", "reward", "rollout", "search", "time", "train"} | over
    assert all(tag.count("/") == 1 for tag in tags)


def test_samples_are_tables_with_every_error_named(runs: Path, ask: Any) -> None:
    shown = ask("plugin/text/text", run="tags/tensorboard", tag="eval/samples/text_summary")
    assert [sample["step"] for sample in shown] == [0, 192]
    cells = re.findall(CELL, shown[-1]["text"])
    texts = (runs / "tags/predictions.conll").read_text().strip().split("\n\n")[:5]
    assert len(cells) == len(texts) == 5
    for cell, text in zip(cells, texts, strict=True):
        words = [line.split() for line in text.splitlines()]
        assert cell.startswith(f"{sum(gold == said for _, gold, said in words)}/4: ")
        wrong = [(said, gold) for _, gold, said in words if gold != said]
        assert re.findall(r"<strong><code>(.*?)</code></strong> \(gold <code>(.*?)</code>\)", cell) == wrong


def test_what_texts_hold_stays_text(runs: Path, ask: Any) -> None:
    shown = ask("plugin/text/text", run="masks/tensorboard", tag="eval/samples/text_summary")[-1]["text"]
    cells = re.findall(CELL, shown)
    filled = [json.loads(line) for line in (runs / "masks/predictions.jsonl").read_text().splitlines()]
    assert len(cells) == len(filled) == 1  # a | in a text does not separate cells
    right = sum(g == p for g, p in zip(filled[0]["gold"], filled[0]["predicted"], strict=True))
    assert cells[0].startswith(f"{right}/{len(filled[0]['gold'])}: ")
    assert cells[0].replace("[UNK]", "").count("[") == len(filled[0]["gold"])
    assert cells[0].count("<strong>") == len(filled[0]["gold"]) - right
    assert "<em>" not in cells[0]
    assert "<code>" not in cells[0]


def test_hparams_have_columns_that_a_run_fills_and_its_last_metrics(runs: Path, ask: Any) -> None:
    columns = ask("plugin/hparams/experiment", body={"experimentName": ""})
    assert [info["name"] for info in columns["hparamInfos"][:5]] == ["algo", "changed", "env.dataset", "env.id", "seed"]
    shown = {info["name"] for info in columns["hparamInfos"]}
    metrics = [info["name"]["tag"] for info in columns["metricInfos"]]
    asked = {"startIndex": 0, "sliceSize": 9, "colParams": [], "allowedStatuses": STATUSES}
    found = {group["name"]: group for group in ask("plugin/hparams/session_groups", body=asked)["sessionGroups"]}
    assert set(found) == {"tags/tensorboard", "masks/tensorboard"}
    tags, masks = found["tags/tensorboard"]["hparams"], found["masks/tensorboard"]["hparams"]
    assert (tags["algo"], tags["seed"], tags["agent.samples"]) == ("reinforce", 3, "4")
    assert tags["changed"] == "samples=4, num_envs=4, passes=1.0"
    assert (masks["algo"], masks["env.id"], masks["agent.search_space"]) == ("es", "MaskedLM-v0", "bias")
    assert "agent.samples" not in masks
    filled = {run: found[f"{run}/tensorboard"]["hparams"] for run in ("tags", "masks")}
    assert shown in [set(values) for values in filled.values()]  # of the run that TensorBoard found first
    assert shown <= set(COLUMNS)
    assert metrics in [metric_tags(task) for task in (NER, MaskedLM)]
    for run, task in (("tags", NER), ("masks", MaskedLM)):
        last: dict[str, float] = {}
        for row in read_metrics(runs / run / "metrics.jsonl"):
            last |= row
        values = {value["name"]["tag"]: value["value"] for value in found[f"{run}/tensorboard"]["metricValues"]}
        assert values == pytest.approx({tag: last[tag] for tag in metrics if tag in last})
        assert set(metrics) == set(values) or metrics != metric_tags(task)  # no column is empty
        assert {"eval/cross_entropy", "eval/perplexity", "budget/forward_passes"} <= set(values)


def test_no_page_is_empty(ask: Any) -> None:
    enabled = {name for name, plugin in ask("plugins_listing").items() if plugin["enabled"]}
    assert enabled == {"scalars", "text", "images", "hparams", "timeseries"}


def test_choices_of_another_algorithm_are_no_columns_of_a_run() -> None:
    usual = parse_settings(["--algo=es"])
    assert hparams(usual, usual)["changed"] == "nothing"
    assert not {"agent.samples", "agent.advantage"} & set(hparams(usual, usual))
    given = parse_settings(["--algo=es", "--policy.model=other", "--evaluation.shown=1", "--device=cpu"])
    assert hparams(given, usual)["changed"] == "model=other"


def test_runs_are_named_by_what_they_are() -> None:
    usual = parse_settings(["--algo=es"])
    assert run_name(usual, usual) == "seed=0"
    given = ["--policy.model=runs/a b/best", "--env.num_envs=9", "--agent.optimizer_kwargs={popsize: 4}", "--seed=3"]
    found = run_name(parse_settings(["--algo=es", "--env.dataset=data/people.conll", *given]), usual)
    assert found == "people-optimizer_kwargs=-popsize-4-model=best-num_envs=9-seed=3"
