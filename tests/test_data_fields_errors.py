"""Data with other fields, bad values and bad options are refused with an explanation."""

import pickle
from dataclasses import replace

import numpy as np
import polars
import pytest

from lm_gym.data import Corpus, DataError, Dataset, LabelColumn, OtherFields, load_dataset
from lm_gym.data.fields import CANDIDATES, LABEL, LABELS, RELEVANCE, TAGS, WORDS
from tests.fields import RECORDS, conll, jsonl

KINDS = {
    "label": ({"text": "one two", "label": 1}, (WORDS, TAGS), {"label"}),
    "named label": ({"text": "one two", "label": "good news"}, (WORDS, TAGS), {"label"}),
    "label by another name": ({"text": "one two", "category": "good"}, (WORDS, TAGS), {"label"}),
    "labels": ({"text": "one two", "labels": ["x", "y", "z"]}, (WORDS, TAGS), {"labels"}),
    "tags": ({"text": "one two", "label": ["O", "B-X"]}, (WORDS, LABEL), {"tags"}),
    "tags in a string": ({"text": "one two", "label": "O B-X"}, (WORDS, LABEL), {"tags"}),
    "tags as labels": ({"text": "one two", "labels": ["O", "B-X"]}, (WORDS, LABELS), {"tags"}),
    "tags by their name": ({"tokens": ["one", "two"], "ner_tags": [0, 4]}, (WORDS, LABEL), {"tags"}),
    "labels for label": ({"text": "one two", "label": ["x", "y", "z"]}, (WORDS, LABEL), {"labels"}),
    "tags, not texts": ({"tokens": ["one", "two"], "tags": ["O", "O"]}, (WORDS, CANDIDATES), {"tags"}),
    "two": ({"text": "one two", "label": 1, "tags": ["O", "O"]}, (WORDS, CANDIDATES), {"label", "tags"}),
    "numbers": ({"text": "one two", "scores": [0.5, 1]}, (WORDS, LABEL), {"numbers"}),
}


@pytest.mark.parametrize("case", KINDS)
def test_other_kinds_of_field_are_told(case):
    record, fields, kinds = KINDS[case]
    with pytest.raises(OtherFields, match=r"^Python data, train, row 0: .* is needed") as caught:
        load_dataset([record], fields=fields)
    assert caught.value.kinds == kinds
    assert pickle.loads(pickle.dumps(caught.value)).kinds == kinds


def test_other_kinds_of_field_in_files_and_datasets(tmp_path):
    path = tmp_path / "train.conll"
    conll(path, RECORDS)
    with pytest.raises(OtherFields, match=r"train\.conll, line 1: .* a tag for each word: one label") as caught:
        load_dataset(path, fields=(WORDS, LABEL))
    assert caught.value.kinds == {"tags"}
    path = tmp_path / "train.csv"
    path.write_text("word,label\nso,O\nIvo,B-PER\n")
    with pytest.raises(OtherFields, match=r"train\.csv: each row is a word with a 'label': one label") as caught:
        load_dataset(path, fields=(WORDS, LABEL))
    assert caught.value.kinds == {"tags"}
    path.write_text("text,label\na fine film,1\n")
    with pytest.raises(OtherFields, match=r"train\.csv, line 2: 'label' is '1', one label") as caught:
        load_dataset(path, fields=(WORDS, TAGS))
    assert caught.value.kinds == {"label"}
    with pytest.raises(
        OtherFields, match=r"'Python data' has words and label: field 'tags' needs a tag for each"
    ) as caught:
        load_dataset(load_dataset([{"text": "a", "label": 1}], fields=(WORDS, LABEL)), fields=(WORDS, TAGS))
    assert caught.value.kinds == {"label"}
    with pytest.raises(OtherFields, match="'builtin/ner' has words and tags: field 'label' needs one label") as caught:
        load_dataset("builtin/ner", fields=(WORDS, LABEL))
    assert caught.value.kinds == {"tags"}
    labelled = load_dataset([{"text": "a", "label": 1}], fields=(WORDS, LABEL))
    assert load_dataset(labelled, fields=(WORDS, LABEL)) is labelled


BAD = [
    ([{"text": "a", "label": ""}], (WORDS, LABEL), "row 0: 'label' is '': a label is a non-empty string"),
    ([{"text": "a", "label": "x"}, {"text": "b", "label": None}], (WORDS, LABEL), "row 1: 'label' is None"),
    ([{"text": "a", "label": 0.5}], (WORDS, LABEL), r"row 0: 'label' is 0\.5: a label"),
    ([{"text": "a", "label": "x"}, {"text": "b"}], (WORDS, LABEL), "row 1: no 'label', which earlier texts have"),
    ([{"text": "a"}, {"text": "b", "label": 1}], (WORDS, replace(LABEL, required=False)), "row 1: 'label' is not in"),
    ([["a"], (["b"], ["O"])], None, "row 1: 'tags' is not in earlier texts"),
    ([{"text": "a", "topic": "x", "y": 1}], (WORDS, LABELS), "no column of labels among text, topic, y"),
    ([{"text": "a", "labels": ["x", "x"]}], (WORDS, LABELS), "a label occurs twice"),
    ([{"text": "a", "labels": ["x", ["y"]]}], (WORDS, LABELS), "'labels' is .'y'.: a label is"),
    ([{"text": "a", "items": "b"}], (WORDS, CANDIDATES), "'items' is 'b': a list of texts is needed"),
    ([{"text": "a", "items": ["b", " "]}], (WORDS, CANDIDATES), "'items' holds ' ': each text needs words"),
    ([{"text": "a", "items": [["b", ""]]}], (WORDS, CANDIDATES), "'items' holds .*: each text needs words"),
    ([{"text": "a", "items": [3]}], (WORDS, CANDIDATES), "'items' is 3: a string or a list of words"),
    ([{"text": "a", "gains": ["b"]}], (WORDS, replace(RELEVANCE, beside=None)), "'gains' holds 'b': finite numbers"),
    ([{"text": "a", "gains": [np.nan]}], (WORDS, replace(RELEVANCE, beside=None)), "'gains' holds nan: finite"),
    (
        [{"text": "a", "items": ["b", "c"], "gains": [1]}],
        (WORDS, CANDIDATES, RELEVANCE),
        "row 0: 2 candidates but 1 numbers in 'gains': give each item one number",
    ),
    ([{"text": "a"}], (LABEL,), "fields label: the first one, and no other, must be of kind 'words'"),
    ([{"text": "a"}], (), r"fields \(none\): the first one"),
    ([{"text": "a"}], (WORDS, TAGS, replace(TAGS, name="more")), "two are of kind 'tags'"),
    ([{"text": "a"}], (WORDS, LABEL, replace(LABELS, name="label")), "two have the same name"),
    ([{"text": "a"}], (WORDS, RELEVANCE), "beside='candidates' is no field of kind 'texts'"),
    (["a text", "b"], None, "Python data, train, row 0: 'a text' is not a text: give a list of words"),
    (3, None, "int is not data: give a list of records"),
    ([], None, "Python data, train: no texts"),
    ({"text": ["a"]}, None, "Python data: no split of a usual name; it has text"),
    (polars.DataFrame({"text": ["a"]}).lazy(), None, "LazyFrame is not data"),
]


@pytest.mark.parametrize(("data", "fields", "message"), BAD)
def test_bad_data_are_refused(data, fields, message):
    with pytest.raises(DataError, match=message):
        load_dataset(data, fields=fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"lable": "x"}}, r"columns: no field 'lable' \(did you mean 'label'\?\): fields are words, label"),
        ({"columns": {"label": "y"}}, "no column 'y': the columns are text, label"),
        ({"columns": {"label": 2}}, "there is no column 2: give 0 to 1"),
        (
            {"columns": {"words": "text"}, "text_column": "text"},
            "field 'words': columns gives 'text', and an option gives 'text'",
        ),
        ({"tag_column": 1}, "tag_column=1: no tags are read, fields are words, label"),
        ({"splits": {"train": "train"}}, "needs a dict of splits"),
        ({"splits": {"dev": "x"}}, "unknown split 'dev'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        load_dataset([{"text": "a", "label": "x"}], fields=(WORDS, LABEL), **options)


def test_labels_are_those_of_train(tmp_path):
    jsonl(tmp_path / "train.jsonl", [{"text": "a", "label": "x"}, {"text": "b", "label": "w"}])
    jsonl(tmp_path / "test.jsonl", [{"text": "c", "label": "x"}, {"text": "d", "label": "y"}])
    with pytest.raises(
        DataError, match=r"test\.jsonl, line 2: label 'y' is not in the training split, whose labels are w, x"
    ):
        load_dataset(tmp_path, fields=(WORDS, LABEL))
    assert load_dataset(tmp_path / "test.jsonl", fields=(WORDS, LABEL))["test"].columns["label"].names == ("x", "y")


def test_a_field_belongs_to_all_splits_or_none():
    data = {"train": [{"text": "a", "label": 1}], "test": [{"text": "b"}]}
    with pytest.raises(DataError, match="train of Python data has label and test has none"):
        load_dataset(data, fields=(WORDS, replace(LABEL, required=False)))


def test_splits_with_other_columns_do_not_belong_together():
    one = load_dataset([{"text": "a", "label": 1}], fields=(WORDS, LABEL))["train"]
    other = one.with_label_names("label", ("1", "2"))
    with pytest.raises(DataError, match="split test has other columns or labels than train"):
        Dataset.from_splits("mine", {"train": one, "test": other})
    two_rows = LabelColumn("label", np.arange(3), np.zeros(2, np.int32), ("1",))
    with pytest.raises(DataError, match="1 texts but 2 rows in column 'label'"):
        Corpus(one.words, one.vocabulary, one.offsets, columns={"label": two_rows})
