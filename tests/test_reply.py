"""`python -m agents.reply RUN_DIR`."""

import contextlib
import io
import json
import re

import pytest

from lm_gym.agents.predict import main as predict
from lm_gym.agents.reply import main as reply
from lm_gym.agents.runs.command_line import parse_settings
from lm_gym.agents.train import main as train
from tests.replies import ID, RECORDS, bank_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replies")
    rows = [{**RECORDS[1], "message": f"order {number} is late"} for number in range(6)]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["--env.id", ID, "--env.dataset", str(folder / "asked.jsonl"), "--env.abstain", "true"]
    arguments += ["--data.max_overlap", "1", "--env.num_envs", "4", "--budget.passes", "1"]
    with contextlib.redirect_stdout(io.StringIO()):
        train([*arguments, "--algo", "supervised", "--run_dir", str(folder / "run"), "--device", "cpu"])
    return folder / "run"


@pytest.mark.filterwarnings("always:.*are duplicates")
def test_the_command_ranks_replies(run, tmp_path, capsys, monkeypatch):
    bank = bank_of(tmp_path, "It comes tomorrow.", "I am sorry.", "Here is the order.", "I am sorry.")
    asked = tmp_path / "messages.jsonl"
    asked.write_text('My order is late\n\n{"message": "where is it", "turns": ["hello"]}\n', encoding="utf-8")
    reply([str(run), "--bank", bank, "--input", str(asked), "--k", "3", "--top", "9"])
    shown = capsys.readouterr()
    assert "1 of 4 replies" in shown.err
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["message"] for line in lines] == ["My order is late", "where is it"]
    for line in lines:
        replies = {entry["reply"] for entry in line["replies"]}
        assert replies == {None, "It comes tomorrow.", "I am sorry.", "Here is the order."}
        probabilities = [entry["probability"] for entry in line["replies"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
    asked.write_text('\ufeff{"message": "where\u2028is it"}\nMy order\x0cis late\n', encoding="utf-8")
    reply([str(run), "--bank", bank, "--input", str(asked)])
    lines = [json.loads(line) for line in capsys.readouterr().out.rstrip("\n").split("\n")]
    assert [line["message"] for line in lines] == ["where\u2028is it", "My order\x0cis late"]
    typed = iter(["order late", ""])
    monkeypatch.setattr("builtins.input", lambda *_: next(typed))
    reply([str(run), "--bank", bank, "--k", "2", "--top", "2"])
    assert re.search(r"1\. 0\.\d+  .*\n2\. 0\.\d+  ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ('{"message": 3}\n', [], "line 1: no 'message'"),
        ('{"message": "a", "turns": [1]}\n', [], "'turns' is"),
        ("{\n", [], "bad JSON"),
        ('{"message": ' + "[" * 100_000 + "]" * 100_000 + "}\n", [], "bad JSON"),
        ("a\n", ["--k", "0"], "--k"),
        ("a\n", ["--bank", "nowhere.jsonl"], "nowhere.jsonl"),
        ("a\n", ["--env.max_length", "12"], "candidates need"),
    ],
)
def test_bad_messages_are_refused_in_one_line(content, more, message, run, tmp_path, capsys):
    asked = tmp_path / "messages.jsonl"
    asked.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        reply([str(run), "--bank", bank_of(tmp_path, "yes it is", "no it is not"), "--input", str(asked), *more])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_run_stores_the_absolute_path_of_its_bank(tmp_path, monkeypatch):
    bank_of(tmp_path, "yes")
    monkeypatch.chdir(tmp_path)
    settings = parse_settings(["--env.id", ID, "--env.bank", "bank.jsonl"])
    assert settings.env.bank == str(tmp_path / "bank.jsonl")
    assert f"bank: {tmp_path / 'bank.jsonl'}" in settings.yaml


def test_predict_names_the_line_of_a_text_that_the_task_refuses(run, tmp_path, capsys):
    asked = tmp_path / "asked.jsonl"
    rows = [{"turns": [], "message": "a", "candidates": ["x", each]} for each in ("y", "x")]
    asked.write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        predict([str(run), "--input", str(asked)])
    assert f"{asked}, line 3: two candidates are the same: list each once" in capsys.readouterr().err
