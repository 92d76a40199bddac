"""`python -m agents.predict RUN_DIR` and `lm_gym.agents.predict`: texts without gold."""

import io
import json
import re
import sys
from pathlib import Path

import pandas
import polars
import pytest

import lm_gym
from lm_gym.agents import predict
from lm_gym.agents.evaluate import main as evaluate_main
from lm_gym.agents.predict import main
from lm_gym.agents.train import main as train_main
from tests.runs import options, train, write_corpus
from tests.test_register_task import forgotten as forgotten
from tests.test_register_task import task

PAGE = Path(__file__).parents[1] / "docs" / "predict.md"
TEXTS = ["the cat sat on the mat .", "a dog saw the river .", "my house is near a river .", "the old man saw a cat ."]
MASKS = ["the [MASK] sat on the mat.", "nothing to fill", "", "a dog saw the [MASK] near a [MASK] ."]
RECORDS = [
    {"text": f"{subject} {verb} sharply", "label": label, "id": number}
    for number, (subject, verb, label) in enumerate(
        (s, v, label)
        for s in ("profit", "sales", "output", "demand")
        for v, label in (("rose", "up"), ("fell", "down"))
    )
]


def jsonl(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short run of each builtin task, and one on pairs of texts."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS * 3))
    labels = jsonl(folder / "labels.jsonl", RECORDS)
    pairs = jsonl(folder / "pairs.jsonl", [{**record, "second": "it did well"} for record in RECORDS])
    texts, overlap = folder / "texts.txt", "--data.max_overlap=1"
    common = ("--algo=supervised", "--budget.passes=1")
    given = {
        "ner": (data, "NER", "--budget.passes=8"),
        "labels": (labels, "TextClassification", "--budget.passes=4"),
        "pairs": (pairs, "TextClassification"),
        "masked_lm": (texts, "MaskedLM", overlap),
        "unmasking": (texts, "Unmasking", overlap, "--env.order=confidence"),
    }
    for name, (source, kind, *more) in given.items():
        every = options(source, folder / name, *common, f"--env.id=lm_gym/{kind}-v0", *more)
        train_main([option for option in every if not option.startswith("--agent.samples")])
    return {name: folder / name for name in given}


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[list[dict], str]:
    """Run the command and return its lines of output and its messages."""
    main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return [json.loads(line) for line in shown.out.splitlines()], shown.err


def refused(*arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="2"):
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    return shown


# ---------------------------------------------------------------------- the same as evaluate


def test_tags_are_those_of_evaluate(runs, data, tmp_path, capsys):
    evaluate_main([str(runs["ner"]), "--predictions", str(tmp_path / "evaluated.conll")])
    evaluated = [line.split() for line in (tmp_path / "evaluated.conll").read_text().splitlines()]
    assert {tag for row in evaluated for tag in row[2:]} > {"O"}
    for format_ in ("conll", "jsonl", "text"):
        source = tmp_path / f"input.{format_}"
        texts = (data / "test.txt").read_text().strip().split("\n\n")
        words = [[line.split()[0] for line in text.splitlines()] for text in texts]
        source.write_text(
            {
                "conll": (data / "test.txt").read_text(),
                "jsonl": "".join(json.dumps({"tokens": text}) + "\n" for text in words),
                "text": "".join(" ".join(text) + "\n" for text in words),
            }[format_]
        )
        main([str(runs["ner"]), "--input", str(source), "--output", str(tmp_path / "out"), "--output_format=conll"])
        predicted = [line.split() for line in (tmp_path / "out").read_text().splitlines()]
        assert predicted == [[word, tag] for word, _, tag in filter(None, evaluated)] or predicted == [
            [row[0], row[2]] if row else [] for row in evaluated
        ]


def test_labels_are_those_of_evaluate(runs, tmp_path, capsys):
    labels = runs["labels"].parent / "labels.jsonl"
    predictions = tmp_path / "evaluated.jsonl"
    evaluate_main(
        [
            str(runs["labels"]),
            "--split=train",
            f"--env.dataset={labels}",
            "--env.max_length=64",
            f"--predictions={predictions}",
        ]
    )
    capsys.readouterr()
    evaluated = [json.loads(line) for line in predictions.read_text().splitlines()]
    predicted, _ = run(runs["labels"], "--input", labels, capsys=capsys)
    assert [one["predicted"] for one in predicted] == [one["predicted"] for one in evaluated]
    assert [{key: one[key] for key in ("text", "label", "id")} for one in predicted] == RECORDS
    assert all(0.5 <= one["probability"] <= 1 for one in predicted)


@pytest.mark.parametrize("name", ["masked_lm", "unmasking"])
def test_masks_are_filled_as_in_evaluate(name, runs, tmp_path, capsys):
    """Texts with the masks of an evaluation get the same tokens as in the evaluation."""
    predictions = tmp_path / "evaluated.jsonl"
    texts = runs["ner"].parent / "texts.txt"
    evaluate_main([str(runs[name]), "--split=train", f"--env.dataset={texts}", f"--predictions={predictions}"])
    capsys.readouterr()
    evaluated = [json.loads(line) for line in predictions.read_text().splitlines()]
    predicted, _ = run(
        runs[name],
        "--input",
        jsonl(tmp_path / "masked.jsonl", [{"text": one["text"]} for one in evaluated]),
        capsys=capsys,
    )
    assert [one["predicted"] for one in predicted] == [one["predicted"] for one in evaluated]


def test_a_task_of_ones_own(tmp_path, forgotten):
    lm_gym.register_task(task(env_id="Parity-v0", name="parity"))
    (tmp_path / "words.txt").write_text("".join(f"{text}\n" for text in TEXTS * 3))
    run_dir = train(tmp_path / "words.txt", tmp_path / "run", "--env.id=Parity-v0", "--data.max_overlap=1")
    (found,) = predict(run_dir, ["the cat, it sat"])
    assert set(found["predicted"]) <= {"even", "odd"}
    assert len(found["predicted"]) == len(found["offsets"]) == 5


# ---------------------------------------------------------------------- output


def test_offsets_and_entities_are_in_characters(runs):
    text = "  Ada saw Oslo. (Mira, too!)"
    (found,) = predict(runs["ner"], [text])
    words = [text[start:end] for start, end in found["offsets"]]
    assert words == ["Ada", "saw", "Oslo", ".", "(", "Mira", ",", "too", "!", ")"]
    assert len(found["predicted"]) == len(found["probability"]) == 10
    entities = [(text[one["start"] : one["end"]], one["label"]) for one in found["predicted_entities"]]
    assert ("Ada", "PER") in entities
    assert ("Oslo", "LOC") in entities


def test_texts_and_masks_in_python(runs):
    found = predict(runs["masked_lm"], MASKS, env__max_length=32, device="cpu")
    assert [found[row]["predicted"] for row in (1, 2)] == [None, None]
    assert [len(found[row]["predicted"]) for row in (0, 3)] == [1, 2]
    assert "[MASK]" not in found[0]["filled"] + found[3]["filled"]
    assert predict(runs["ner"], []) == []
    with pytest.raises(ValueError, match="'one' is a string: give a list of texts"):
        predict(runs["ner"], "one")
    with pytest.raises(ValueError, match="text 1 is 7: give a string"):
        predict(runs["ner"], ["one", 7])
    with pytest.raises(ValueError, match="is one record: give a list of texts"):
        predict(runs["ner"], {"text": "one"})


def test_frames_in_python(runs):
    texts = ["Ada saw Oslo .", "No one came ."]
    rows = [{"key": number, "text": text} for number, text in enumerate(texts)]
    expected = predict(runs["ner"], rows)
    for kind in (pandas.DataFrame, polars.DataFrame):
        assert predict(runs["ner"], kind(rows)) == expected


def test_standard_input_and_counts(runs, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("".join(f"{text}\n" for text in MASKS).encode())))
    found, said = run(runs["unmasking"], "--input=-", capsys=capsys)
    assert [one["text"] for one in found] == MASKS
    assert "4 texts in" in said
    assert "note: 1 of 4 texts have no words, and no prediction" in said
    assert "note: 1 of 4 texts have no masked token to decide" in said


def test_values_that_utf8_lacks_are_kept(runs, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text('{"text": "Ada saw Oslo .", "note": "\\ud800", "day": NaN}\n')
    (found,), _ = run(runs["ner"], "--input", tmp_path / "in.jsonl", capsys=capsys)
    assert (found["note"], found["day"]) == ("\ud800", None)


def test_without_standard_input_a_file_is_asked_for(runs, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed: give a file instead of -" in refused(runs["ner"], "--input=-", capsys=capsys)


def test_order_and_chunks(runs):
    """Texts of all lengths, in several batches and chunks, keep their order and get the same results as alone."""
    from lm_gym.agents.evaluation.predicting import as_records
    from lm_gym.agents.runs.trained_run import open_run
    from lm_gym.data.stream import RecordStream

    texts = ["Ada saw Oslo . " * (1 + number * 7 % 5) for number in range(30)]
    predictor, options = open_run(runs["ner"]).predictor()
    stream = RecordStream(as_records(texts), "texts", "text", options)
    found = [one.merged() for one in predictor.predict(stream, chunk=8)]
    assert [one["text"] for one in found] == texts
    assert [one["predicted"] for one in found] == [
        predict(runs["ner"], [text])[0]["predicted"] for text in texts[:5]
    ] * 6
    assert predictor.counts.texts == 30


def test_a_long_text_is_counted(runs, tmp_path, capsys):
    (tmp_path / "long.txt").write_text("Ada saw Oslo . " * 20 + "\n")
    (found,), said = run(runs["ner"], "--input", tmp_path / "long.txt", "--env.max_length=12", capsys=capsys)
    assert len(found["predicted"]) == 80
    assert set(found["predicted"][12:]) == {"O"}
    assert found["probability"][12:] == [None] * 68
    assert "note: 1 of 1 texts are longer than max_length=12 and lose their ends" in said
    assert "warning" not in said


def test_a_table_with_more_columns(runs, tmp_path, capsys):
    (tmp_path / "t.csv").write_text('id,text,label\n7,"profit, it seems, rose",up\n8,sales fell,down\n')
    found, _ = run(runs["labels"], "--input", tmp_path / "t.csv", capsys=capsys)
    assert [(one["id"], one["text"], one["label"]) for one in found] == [
        ("7", "profit, it seems, rose", "up"),
        ("8", "sales fell", "down"),
    ]
    (tmp_path / "u.csv").write_text("id,headline\n7,profit rose\n")
    renamed = ("--input", tmp_path / "u.csv", "--data.text_column=headline")
    assert run(runs["labels"], *renamed, capsys=capsys)[0][0]["headline"] == "profit rose"


def test_gold_tags_for_words_between_blanks_keep_these_words(runs, tmp_path, capsys):
    source = jsonl(
        tmp_path / "x.jsonl", [{"text": "Ada saw Oslo.", "tags": "B-PER O B-LOC"}, {"text": "Ada saw Oslo."}]
    )
    tagged, plain = run(runs["ner"], "--input", source, capsys=capsys)[0]
    assert (len(tagged["predicted"]), len(plain["predicted"])) == (3, 4)


def test_the_example_of_the_page(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(runs["ner"])
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    exec(compile(code, str(PAGE), "exec"), {})
    assert "'start': " in capsys.readouterr().out


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": \n', "line 2: not a JSON object"),
        ('{"text": "a"}\n["a"]\n', "line 2: \"['a']\" is not an object"),
        ('{"text": "a"}\n{"txt": "b"}\n', "line 2: no 'text', which earlier texts have; keys: txt"),
        ('{"txt": "a"}\n', "line 1: no column of words or texts among txt"),
        ('{"text": "a", "predicted": 1}\n', "line 1: has a key 'predicted', which a prediction needs: rename it"),
        ('{"text": 7}\n', "line 1: 'text' is 7: a string or a list of words is needed"),
        ('{"tokens": ["a", " "]}\n', "line 1: ' ' is an empty word"),
    ],
)
def test_malformed_lines_are_refused(content, message, runs, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text(content)
    said = refused(runs["ner"], "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out", capsys=capsys)
    assert message in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_wrong_use_is_refused(runs, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("a\n")
    given = ("--input", tmp_path / "in.txt")
    assert "does not decide each word" in refused(runs["labels"], *given, "--output_format=conll", capsys=capsys)
    assert "second" in refused(runs["pairs"], *given, capsys=capsys)
    assert f"{tmp_path} is a folder: give a file" in refused(runs["ner"], *given, "--output", tmp_path, capsys=capsys)
    assert "No such file" in refused(runs["ner"], "--input", tmp_path / "none", capsys=capsys)
    assert "no option --inptu (did you mean '--input'?)" in refused(runs["ner"], "--inptu=-", capsys=capsys)
    assert "unknown value 'cvs' (did you mean 'csv'?)" in refused(runs["ner"], *given, "--format=cvs", capsys=capsys)
    assert "arguments are required: --input" in refused(runs["ner"], capsys=capsys)
    assert "--env.dataset is fixed by the run" in refused(runs["ner"], *given, "--env.dataset=x", capsys=capsys)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    assert "byte 0xe9 is not UTF-8" in refused(runs["ner"], "--input", tmp_path / "latin.txt", capsys=capsys)


def test_the_data_of_the_run_is_not_needed(data, runs, tmp_path):
    moved = data.rename(data.with_name("moved"))
    try:
        assert predict(runs["ner"], ["Ada saw Oslo ."])[0]["predicted"][0] == "B-PER"
    finally:
        moved.rename(data)
