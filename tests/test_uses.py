"""Tasks of labels, replies and items through the commands: train, evaluate, play, predict; and plain transformers."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from lm_gym.agents import predict as predict_texts
from lm_gym.agents.evaluate import main as evaluate
from lm_gym.agents.play import main as play
from lm_gym.agents.predict import main as predict
from lm_gym.agents.train import main as train
from lm_gym.tasks import TASKS

LABELS = ("ships", "trains")
REPLIES = ["it sails at nine", "it leaves at ten"]
SAID = [(f"{LABELS[i % 2]} number {i}", i % 2) for i in range(16)]
ASKED = [{"message": text, "turns": ["hello"], "candidates": REPLIES, "answer": right} for text, right in SAID]
LABELLED = [{"text": text, "labels": [LABELS[right], "late"][: 1 + right]} for text, right in SAID]
SLATE = {"history": ["a map"], "candidates": [*REPLIES, "none"]}
USES: dict[str, tuple[str, list[dict[str, Any]], list[str]]] = {  # task, records and options by name
    "label": ("text_classification", [{"text": text, "label": LABELS[right]} for text, right in SAID], []),
    "labels": ("multi_label", LABELLED, []),
    "reply": ("response_selection", ASKED, []),
    "towers": ("response_selection", ASKED, ["--env.head=similarity", "--env.abstain=true"]),
    "items": (
        "recommendation",
        [{"liked": text, **SLATE, "relevance": [right, 1 - right, 0]} for text, right in SAID],
        ["--env.k=2"],
    ),
}
GOLD = ("label", "labels", "answer", "relevance")


def quietly(command, *arguments: object) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        command([str(argument) for argument in arguments])
    return printed.getvalue()


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=USES)
def run(request, tmp_path_factory) -> tuple[str, Path]:
    """Train a short run of each use and return the runs by name."""
    name, rows, options = USES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    data = jsonl(folder / "train.jsonl", rows)
    common = ["--budget.passes=1", "--env.num_envs=4", "--data.max_overlap=1", "--device=cpu", "--log_interval=1"]
    algorithm = "supervised" if request.param != "items" else "reinforce"
    given = [f"--env.id={TASKS[name].env_id}", f"--env.dataset={data}", f"--run_dir={folder / 'run'}"]
    quietly(train, *given, f"--algo={algorithm}", *common, *options)
    return request.param, folder / "run"


def test_a_run_logs_its_metric_and_reports_baselines(run):
    name, folder = run
    task = TASKS[USES[name][0]]
    events = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()
    assert f"eval/{task.metrics[0].name}" in events["scalars"]
    assert any("samples" in tag for tag in events["tensors"])
    report = json.loads((folder / "report.json").read_text())
    assert {row.name for row in task.baselines} <= report["baselines"].keys()


def test_it_is_evaluated_and_played(run, tmp_path, monkeypatch):
    name, folder = run
    task = TASKS[USES[name][0]]
    predictions = tmp_path / f"said.{task.predictions_suffix}"
    quietly(evaluate, folder, "--split", "validation", "--predictions", predictions)
    assert "gold" in json.loads(predictions.read_text().splitlines()[0])
    keys = iter(["", "q"])
    monkeypatch.setattr("builtins.input", lambda *_: next(keys))
    assert "number" in quietly(play, folder, "--split", "validation")
    quietly(play, folder, "--split", "validation", "--texts", "2", "--html", tmp_path / "page.html")
    assert "number" in (tmp_path / "page.html").read_text()


def test_it_predicts_texts_without_gold(run, tmp_path):
    name, folder = run
    rows = [{key: value for key, value in row.items() if key not in GOLD} for row in USES[name][1]]
    lines = quietly(predict, folder, "--input", jsonl(tmp_path / "new.jsonl", rows)).splitlines()
    assert [{key: line[key] for key in row} for row, line in zip(rows, map(json.loads, lines), strict=True)] == rows
    assert all(json.loads(line)["predicted"] is not None for line in lines)


def test_replies_to_new_messages_come_from_the_bank(tmp_path):
    bank = tmp_path / "bank.txt"
    bank.write_text("\n".join([*REPLIES, "I do not know"]) + "\n")
    rows = [{"message": text, "reply": REPLIES[right]} for text, right in SAID]
    data, folder = jsonl(tmp_path / "asked.jsonl", rows), tmp_path / "run"
    given = ["--env.id=lm_gym/ResponseSelection-v0", f"--env.dataset={data}", f"--run_dir={folder}", "--device=cpu"]
    given += [f"--env.bank={bank}", "--env.k=2", "--algo=supervised", "--budget.passes=1", "--data.max_overlap=1"]
    quietly(train, *given)
    said = predict_texts(folder, [{"message": "when does the ship leave"}])
    assert said[0]["predicted"] in [*REPLIES, "I do not know"]


def test_plain_transformers_loads_the_checkpoint(run):
    name, folder = run
    kind = AutoModelForSequenceClassification if name == "label" else AutoModelForTokenClassification
    _, found = kind.from_pretrained(folder / "best", output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert AutoConfig.from_pretrained(folder / "best").id2label
    card = (folder / "best" / "README.md").read_text()
    text = SAID[0][0]
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(folder / "best")).replace("…", text)
    code = code.replace('["yes", "no"]', str(REPLIES))
    said = quietly(lambda _: exec(compile(code, "card", "exec"), {}))
    if name == "reply":
        found = predict_texts(folder, [{"message": text, "turns": [], "candidates": REPLIES}])[0]
        assert found["predicted"] in REPLIES
        assert eval(said)[found["predicted"]] == pytest.approx(found["probability"], abs=1e-3)
    assert said
    assert f"pipeline_tag: {'text' if name == 'label' else 'token'}-classification" in card
