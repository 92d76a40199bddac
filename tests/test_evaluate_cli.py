"""`python -m agents.evaluate RUN_DIR`."""

import json
from pathlib import Path

import pytest
from seqeval.metrics import f1_score

from lm_gym.agents.evaluate import main
from tests.runs import train, write_corpus


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def run_dir(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("runs") / "supervised", "--algo=reinforce", "--budget.passes=1")


def columns(path: Path) -> list[list[list[str]]]:
    return [[line.split() for line in text.splitlines()] for text in path.read_text().strip().split("\n\n")]


def test_prints_and_writes_both_reports(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run_dir)])
    shown = capsys.readouterr().out
    assert "Entity report" in shown
    assert "Token-level report" in shown
    written = (run_dir / "evaluation-people-test.txt").read_text()
    assert written.strip() in shown
    found = json.loads((run_dir / "evaluation-people-test.json").read_text())
    trained = json.loads((run_dir / "report.json").read_text())
    assert found["metrics"] == trained["metrics"]["test"]
    assert found["fingerprint"] == trained["fingerprint"]
    assert found["entity_report"]["micro"]["f1"] == found["metrics"]["entity_f1"]
    assert "O" in found["token_report"]["classes"]


def test_predictions_give_the_reported_f1(run_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "predicted.txt"
    main([str(run_dir), "--split", "validation", "--predictions", str(target)])
    texts = columns(target)
    assert [word for word, _, _ in texts[0]][1] == "saw"
    gold = [[tag for _, tag, _ in text] for text in texts]
    predicted = [[tag for _, _, tag in text] for text in texts]
    found = json.loads((run_dir / "evaluation-people-validation.json").read_text())
    assert found["metrics"]["entity_f1"] == pytest.approx(f1_score(gold, predicted))


def test_overlap_is_refused_for_training_only(run_dir: Path, tmp_path: Path, capsys) -> None:
    data = tmp_path / "same"
    data.mkdir()
    for split in ("train", "test"):
        (data / f"{split}.txt").write_text("Ada B-PER\nsaw O\nLima B-LOC\n. O\n\n")
    main([str(run_dir), "--env.dataset", str(data)])
    assert "1 of the 1 texts of train also occur in test" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        train(data, tmp_path / "run")
    assert "1 of the 1 texts of train also occur in test, above max_overlap=0.1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_other_data_with_fewer_tags(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "seen.txt").write_text("Lena B-PER\nsaw O\nit O\n\n")
    main([str(run_dir), "--split", "train", "--env.dataset", str(tmp_path / "seen.txt")])
    found = json.loads((run_dir / "evaluation-seen-train.json").read_text())
    assert found["texts"] == 1
    assert found["token_report"]["micro"]["support"] == 3


def test_held_out_texts_are_held_out_again(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "people", splits=("train",))
    run = train(data, tmp_path / "run", "--budget.passes=1")
    trained = json.loads((run / "report.json").read_text())
    main([str(run), "--split", "validation"])
    found = json.loads((run / "evaluation-people-validation.json").read_text())
    assert found["fingerprint"] == trained["fingerprint"]
    assert found["metrics"] == trained["metrics"]["validation"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "tset"], "no split 'tset'"),
        (["--agent.samples", "2"], "--agent.samples is fixed by the run"),
        (["--evaluation.metric", "token_accuracy"], "--evaluation.metric is fixed by the run"),
        (["--env.dataste", "x"], "'env.dataset'"),
        (["--env.dataset", "other"], "no dataset 'other'"),
    ],
)
def test_wrong_use_is_refused(
    arguments: list[str], message: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run_dir.iterdir())
    with pytest.raises(SystemExit, match="2"):
        main([str(run_dir), *arguments])
    assert message in capsys.readouterr().err
    assert sorted(run_dir.iterdir()) == before


def test_tags_that_the_model_does_not_know_are_refused(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.txt").write_text("Bolt B-THING\n\n")
    with pytest.raises(SystemExit, match="2"):
        main([str(run_dir), "--split", "train", "--env.dataset", str(tmp_path / "odd.txt")])
    assert "B-THING" in capsys.readouterr().err


def test_a_run_without_a_model_yet(tmp_path: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text((run_dir / "config.yaml").read_text())
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path)])
    assert "no best model yet" in capsys.readouterr().err
