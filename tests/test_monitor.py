"""A run of a text classifier, and a stream that it monitors."""

import io
import json
import threading
import time
from collections import Counter
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import fisher_exact
from transformers import pipeline

from lm_gym.agents import evaluate
from lm_gym.agents.evaluate import main as evaluate_main
from lm_gym.agents.monitor import journal, main
from lm_gym.agents.monitor.alerts import Rule, Topic, fisher
from lm_gym.agents.monitor.classifier import Classifier
from lm_gym.agents.monitor.monitor import Monitor
from lm_gym.agents.monitor.stream import LineError, Message, batches, read_line
from lm_gym.agents.play import main as play_main
from lm_gym.agents.runs.trained_run import open_run
from lm_gym.agents.train import main as train_main

GOOD, BAD = ("it was fine", "we were glad", "all went well"), ("it was bad", "we were angry", "nothing worked")
PLACES = ("at the bank", "in Oslo", "at home", "in the shop", "on the train", "by the river")


def rows(split: int) -> list[tuple[str, str]]:
    texts = [
        (f"{said} {place}", label)
        for label, of in (("good", GOOD), ("bad", BAD))
        for said, place in product(of, PLACES)
    ]
    return [row for number, row in enumerate(texts) if number % 3 == split]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opinions")
    for split, name in enumerate(("train", "dev", "test")):
        lines = [f"{text},{label}\n" for text, label in rows(split)]
        (folder / f"{name}.csv").write_text("text,label\n" + "".join(lines))
    given = {"algo": "supervised", "env.id": "lm_gym/TextClassification-v0", "env.dataset": folder, "env.num_envs": 4}
    given |= {"run_dir": folder / "run", "budget.passes": 4, "device": "cpu", "policy.dropout": 0, "threads": 1}
    train_main([f"--{key}={value}" for key, value in given.items()])
    return folder / "run"


# ---------------------------------------------------------------------- the run


def test_the_report_has_the_confusion_matrix_and_the_rows_to_beat(run):
    text = (run / "report.md").read_text()
    assert "Confusion matrix\ngold \\ predicted  bad  good" in text
    assert all(f"| {label} |" in text for label in ("majority label", "TF-IDF + logreg", "random"))
    report = json.loads((run / "report.json").read_text())
    assert report["metrics"]["test"]["accuracy"] == 1.0
    assert report["metrics"]["test"]["calibration_error"] < 0.5
    predictions = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert predictions[0].keys() == {"text", "gold", "predicted"}
    assert {row["text"] for row in predictions} == {text for text, _ in rows(1)}


def test_it_is_evaluated_and_played(run, tmp_path, capsys, monkeypatch):
    evaluate_main([str(run), "--split=validation"])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    play_main([str(run), "--texts=2"])
    out = capsys.readouterr().out
    assert "Report by label" in out
    assert "it was fine in Oslo → label[good]" in out.replace("\x1b[32m", "").replace("\x1b[0m", "")
    play_main([str(run), "--html", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert '<span class="word"><b>Oslo</b></span>' in page
    assert "beyond max_length" not in page


def test_plain_transformers_says_the_same(run):
    policy, env = open_run(run).player("test")
    texts = [text for text, _ in rows(2)]
    theirs = [said["label"] for said in pipeline("text-classification", str(run / "best"))(texts)]
    ours = evaluate(policy, env)
    assert theirs == [env.task.choice_name(choice) for choice in ours.choices.tolist()]
    labels, probabilities = zip(*Classifier(open_run(run))(texts), strict=True)
    assert [*labels] == theirs
    np.testing.assert_allclose(probabilities, np.exp(ours.choice_log_probs), atol=1e-4)


# ---------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"it was fine", Message("it was fine")),
        (b'{"text": "it was fine", "id": 7, "topic": "food", "time": 3.5}', Message("it was fine", "7", "food", 3.5)),
        (b'{"text": "it was fine"}', Message("it was fine", topic=None)),
        (b'\xef\xbb\xbf{"text": "it was fine", "topic": 7}', Message("it was fine", topic="7")),
    ],
)
def test_what_a_line_says(line, message):
    assert read_line(line, "topic" if b"{" in line else None) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  ",
        b"a\0b",
        b"{",
        b'{"text": ""}',
        b'{"text": "\\ud800"}',
        b'{"text": 3}',
        b'{"text": "a", "time": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"words": "a"}',
        b"\xff\xfe",
    ],
)
def test_lines_without_a_text(line):
    with pytest.raises(LineError):
        read_line(line, None)


class Pipe(io.RawIOBase):
    """A stream whose lines arrive when they are released; `taken` counts the lines that were read."""

    def __init__(self, lines: list[bytes], pause: float = 0.0) -> None:
        self.lines, self.pause, self.taken = lines, pause, 0

    def readline(self, _: int | None = -1) -> bytes:
        if self.taken == len(self.lines):
            return b""
        time.sleep(self.pause)
        self.taken += 1
        return self.lines[self.taken - 1]


def test_a_batch_is_full_or_late():
    lines = [b"%d\n" % number for number in range(10)]
    assert [len(batch) for batch in batches(Pipe(lines), 4, 5.0, False)] == [4, 4, 2]
    slow = list(batches(Pipe(lines, pause=0.05), 100, 0.12, False))
    assert 2 <= len(slow) <= 6
    assert [line for batch in slow for line in batch] == lines
    assert list(batches(Pipe([]), 4, 0.1, False)) == []


def test_who_writes_waits_while_batches_are_worked_on():
    pipe = Pipe([b"a\n"] * 1000)
    first = next(found := batches(pipe, 4, 0.1, False))
    time.sleep(0.2)
    assert len(first) == 4
    assert pipe.taken <= 4 * 5 + 2
    found.close()


def test_a_growing_file_is_followed_and_a_torn_line_waits_for_its_end(tmp_path):
    path = tmp_path / "stream.txt"
    path.write_bytes(b"one\ntwo\nthr")

    def grow() -> None:
        time.sleep(0.2)
        with path.open("ab") as file:
            file.write(b"ee\n")

    with path.open("rb") as stream:
        found = batches(stream, 8, 0.05, follow=True)
        assert next(found) == [b"one\n", b"two\n"]
        threading.Thread(target=grow).start()
        assert next(found) == [b"three\n"]
        found.close()
    path.write_bytes(b"one\ntwo")
    with path.open("rb") as stream:
        assert list(batches(stream, 8, 0.05, follow=False)) == [[b"one\n", b"two"]]


# ---------------------------------------------------------------------- alerts


def test_the_test_is_fishers():
    for known, baseline, found, window in ((10, 100, 10, 20), (3, 50, 0, 40), (0, 30, 0, 10), (30, 30, 10, 10)):
        table = [[found, window - found], [known, baseline - known]]
        tails = [fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        assert fisher(known, baseline, found, window) == pytest.approx(min(1.0, 2 * min(tails)))


def alerts(rule: Rule, said: np.ndarray) -> list[int]:
    """Return the numbers of the texts at which a topic raises an alert."""
    topic = Topic()
    return [number for number, has in enumerate(said.tolist()) if topic.take(rule, number, has) is not None]


def test_false_alarms_keep_to_the_stated_rate_and_a_shift_is_caught():
    rule = Rule(baseline=200, window=100, step=50, false_alarms=100.0)
    rng = np.random.default_rng(0)
    raised = sum(len(alerts(rule, rng.random(1000) < share)) for share in (0.02, 0.2, 0.5) for _ in range(20))
    assert raised <= 60 + 3 * np.sqrt(60)  # 60 streams of 1,000 texts at 100 in 100,000
    shifted = [alerts(rule, rng.random(800) < np.where(np.arange(800) < 500, 0.2, 0.5)) for _ in range(10)]
    delays = [min((at for at in found if at >= 500), default=9999) - 500 for found in shifted]
    assert max(delays) <= 200


def test_what_an_alert_says_and_that_it_is_raised_once():
    topic, rule = Topic(), Rule(baseline=50, window=20, step=10, false_alarms=50.0)
    said = [False] * 80 + [True] * 60
    found = [(number, alert) for number, has in enumerate(said) if (alert := topic.take(rule, number, has))]
    ((number, alert),) = found
    assert number == 89
    assert alert == {
        "lines": [70, 89],
        "texts": 20,
        "expected": 0.0,
        "observed": 0.5,
        "p": pytest.approx(fisher(0, 50, 10, 20), rel=0.01),
        "level": 0.005,
    }


@pytest.mark.parametrize("wrong", [{"window": 0}, {"baseline": -1}, {"false_alarms": 0.0}, {"false_alarms": 2000.0}])
def test_rules_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rule(**wrong)


# ---------------------------------------------------------------------- the command


def monitored(lines: list[bytes], folder: Path, run: Path, *more: str) -> list[dict]:
    folder.mkdir(exist_ok=True)
    (folder / "in.jsonl").write_bytes(b"".join(lines))
    files = {"input": folder / "in.jsonl", "output": folder / "out.jsonl", "state": folder / "state.json"}
    main([str(run), *(f"--{key}={path}" for key, path in files.items()), *more])
    return results(folder)


def results(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def stream(count: int, shift: int) -> list[bytes]:
    """Return texts of two topics; from line `shift` on, all texts of one topic are bad."""
    rng, lines = np.random.default_rng(0), []
    for number in range(count):
        topic = ("food", "rooms")[number % 2]
        said = BAD if (topic == "food" and number >= shift) or rng.random() < 0.2 else GOOD
        text = f"{said[rng.integers(3)]} {PLACES[rng.integers(6)]}"
        lines.append(json.dumps({"id": number, "text": text, "topic": topic}).encode() + b"\n")
    return lines


RULE = ("--by=topic", "--baseline=60", "--window=30", "--step=15", "--label=bad", "--batch=16")


def test_a_stream_is_labelled_and_its_shift_is_found(run, tmp_path, capsys):
    lines = stream(400, 250)
    noise = [b"{torn\n", lines[3], b"\n", b"\xff\n"]  # not JSON, a repeated id, no text, not UTF-8
    found = monitored(lines[:100] + noise + lines[100:], tmp_path / "m", run, *RULE, f"--tensorboard={tmp_path / 'tb'}")
    labels = [result for result in found if "label" in result]
    assert [result["id"] for result in labels] == [str(number) for number in range(400)]
    assert [result["line"] for result in labels] == [number + 1 + 4 * (number >= 100) for number in range(400)]
    raised = [result for result in found if "alert" in result]
    assert [(alert["alert"], alert["topic"]) for alert in raised] == [("bad", "food")]
    assert 250 < raised[0]["lines"][1] <= 350
    assert (tmp_path / "m" / "out.jsonl.rejected").read_bytes() == b"{torn\n\n\xff\n"
    assert "404 lines: 400 texts, 1 alerts, 3 rejected, 1 duplicates" in capsys.readouterr().err
    assert list((tmp_path / "tb").iterdir())


class Killed(BaseException):
    """An exception that no handler catches."""


def test_a_killed_monitor_goes_on_where_it_was(run, tmp_path, monkeypatch):
    lines = stream(150, 60)
    whole = monitored(lines, tmp_path / "whole", run, *RULE)
    append, note, commits = journal._append, journal.write_json, Counter()

    def torn(path, content):
        commits["results"] += 1
        append(path, content[: len(content) // 2] if commits["results"] == 5 else content)
        if commits["results"] == 5:
            raise Killed

    def unnoted(path, state):
        commits["states"] += 1
        if commits["states"] == 9:
            raise Killed
        note(path, state)

    monkeypatch.setattr(journal, "_append", torn)
    monkeypatch.setattr(journal, "write_json", unnoted)
    for _ in range(2):  # a result is half written, or results are written without their state
        with pytest.raises(Killed):
            monitored(lines, tmp_path / "killed", run, *RULE)
    monkeypatch.undo()
    assert len(results(tmp_path / "killed")) < len(whole)
    for _ in range(2):  # the second time there is nothing left to read
        assert monitored(lines, tmp_path / "killed", run, *RULE) == whole


def test_more_of_a_stream_goes_on_and_another_rule_does_not(run, tmp_path, capsys, monkeypatch):
    lines = stream(60, 99)
    monitored(lines[:40], tmp_path, run, *RULE)
    found = monitored(lines, tmp_path, run, *RULE)
    assert [result["line"] for result in found] == list(range(1, 61))
    for more, message in (
        ("--step=5", "the state belongs to"),
        ("--label=good", "the state belongs to"),
        ("--by=place", "the state belongs to topics by 'topic', not by 'place'"),
    ):
        with pytest.raises(SystemExit):
            monitored(lines, tmp_path, run, *RULE, more)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        monitored(lines[:3], tmp_path, run, *RULE)
    assert "bytes" in capsys.readouterr().err


def test_standard_input_is_skipped_to_where_the_state_is(run, tmp_path, monkeypatch):
    lines = stream(50, 99)
    command = [str(run), "--input=-", f"--output={tmp_path / 'out.jsonl'}", f"--state={tmp_path / 'state.json'}", *RULE]
    for count in (20, 50):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"".join(lines[:count]))))
        main(command)
    assert [result["line"] for result in results(tmp_path)] == list(range(1, 51))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--state=s.json",), "--state needs --output"),
        (("--label=goood",), "did you mean 'good'?"),
        (("--window=0",), "window=0"),
        (("--batch=0",), "--batch"),
        (("--input=nowhere.txt",), "nowhere.txt"),
        (("--output=a.txt", "--rejected=./a.txt"), "a.txt is given for two of --output, --rejected and --state"),
        (("--output=a.txt", "--state=in.txt"), "in.txt is damaged"),
        (("--output=a.txt", "--state=other.json"), "other.json is not the state of a monitor"),
        (("--env.num_envs=3",), "--env.num_envs is fixed by the run"),
    ],
)
def test_wrong_uses_end_with_one_line(more, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("it was fine\n")
    (tmp_path / "other.json").write_text('{"line": 3}')
    with pytest.raises(SystemExit, match="2"):
        main([str(run), "--input=in.txt", *more])
    assert message in capsys.readouterr().err


def test_an_empty_stream_and_results_on_standard_output(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("")
    main([str(run), "--input=in.txt"])
    said = capsys.readouterr()
    assert (said.out, "0 lines: 0 texts" in said.err) == ("", True)
    (tmp_path / "in.txt").write_text("it was fine at home")
    main([str(run), "--input=in.txt"])
    assert json.loads(capsys.readouterr().out)["label"] == "good"


def test_texts_that_max_length_cuts_are_noted(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("it was fine at home\nfine\n")
    main([str(run), "--input=in.txt", "--env.max_length=6"])
    assert "note: 1 of 2 texts are longer than max_length=6 and lose their ends" in capsys.readouterr().err


class Constant:
    """A classifier that gives every text the same label."""

    labels = ("a", "b")

    def __call__(self, texts):
        return [("a", 1.0)] * len(texts)


def test_labels_watched_share_the_rate_and_clocks_do_not_matter():
    monitor = Monitor(Constant(), Rule(false_alarms=2.0), ("a", "b"), None)
    assert monitor._rule.false_alarms == 1.0
    jumps = [json.dumps({"text": "x", "time": when}).encode() for when in (5, -3, "tomorrow", None)]
    results, _ = monitor.take(jumps)
    assert [json.loads(result).get("time") for result in results] == [5, -3, "tomorrow", None]


def test_values_that_json_or_utf8_lack_do_not_stop_a_stream(run, tmp_path, capsys):
    lines = [
        b'{"text": "it was fine", "id": "\\ud800", "topic": "\\udfff", "time": NaN}\n',
        b'{"text": "it was bad", "place": "Oslo"}\n',
    ]
    found = monitored(lines, tmp_path, run, *RULE, f"--tensorboard={tmp_path / 'tb'}", "--baseline=1", "--step=1")
    assert [(result.get("id"), result["topic"]) for result in found] == [("\ud800", "\udfff"), (None, "None")]
    assert "NaN" not in (tmp_path / "out.jsonl").read_text()
    assert "note: 1 of 2 texts have no 'topic', and share the topic 'None'" in capsys.readouterr().err


def full(*_):
    raise OSError(28, "No space left on device")


def closed(*_):
    raise BrokenPipeError


@pytest.mark.parametrize(("fault", "status", "said"), [(full, 2, "No space left on device\n"), (closed, 1, "")])
def test_results_that_cannot_be_written_end_with_one_line(fault, status, said, run, tmp_path, monkeypatch, capfd):
    replaced = []  # standard output, instead of that of the test
    nowhere = SimpleNamespace(devnull="", O_WRONLY=1, open=lambda *_: 9, dup2=lambda *given: replaced.append(given))
    monkeypatch.setattr("lm_gym.agents.runs.pipes.os", nowhere)
    (tmp_path / "in.txt").write_text("it was fine\n")
    commit = journal.Journal.commit
    monkeypatch.setattr(journal.Journal, "commit", lambda *given: fault() if given[1] else commit(*given))
    with pytest.raises(SystemExit) as end:
        main([str(run), f"--input={tmp_path / 'in.txt'}", f"--output={tmp_path / 'new' / 'out.jsonl'}"])
    assert end.value.code == status
    assert len(replaced) == (fault is closed)
    assert capfd.readouterr().err.rpartition("[Errno 28] ")[2] == said


def test_only_the_last_ids_are_remembered(monkeypatch):
    monkeypatch.setattr("lm_gym.agents.monitor.monitor.REMEMBERED", 2)
    monitor = Monitor(Constant(), Rule(), ("a",), None)
    for id_ in (1, 2, 1, 3, 1):
        monitor.take([json.dumps({"text": "x", "id": id_}).encode()])
    assert monitor.counts == {"texts": 4, "duplicates": 1}
