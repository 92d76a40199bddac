"""Values of fields: names of labels, lists, columns by name, and notes on columns that are not read."""

from dataclasses import replace

import datasets
import numpy as np
import pandas
import pytest

from lm_gym.data import DataError, Field, OtherFields, load_dataset
from lm_gym.data.fields import CANDIDATES, LABEL, LABELS, RELEVANCE, TAGS, WORDS
from tests.fields import held


def test_words_and_pairs_of_python():
    words = [["Ivo", "left"], ["so", "did", "I"]]
    assert load_dataset(words)["train"].text(1) == words[1]
    tagged = load_dataset([(words[0], ["B-PER", "O"]), (words[1], ["O"] * 3)], fields=(WORDS, TAGS))
    assert tagged["train"].tags_of(0) == ["B-PER", "O"]
    labelled = load_dataset([(words[0], "news"), (words[1], "chat")], fields=(WORDS, LABEL))["train"]
    assert [labelled.columns["label"].of(i) for i in range(2)] == [["news"], ["chat"]]
    with pytest.raises(OtherFields, match=r"row 0: 'tags' is 'news', one label") as caught:
        load_dataset([(words[0], "news")], fields=(WORDS, TAGS))
    assert caught.value.kinds == {"label"}


def test_a_dataset_dict_keeps_its_class_names_and_says_which_splits_it_leaves_out():
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["up", "down"])})
    parts = {
        name: datasets.Dataset.from_dict({"text": [f"{name} one", f"{name} two"], "label": [1, 0]}, features=features)
        for name in ("train", "test", "unsupervised")
    }
    dataset = load_dataset(datasets.DatasetDict(parts), fields=(WORDS, LABEL))
    assert dataset["test"].columns["label"].names == ("down", "up")
    assert dataset["test"].columns["label"].of(0) == ["down"]
    assert dataset.notes == ("split unsupervised is not read",)
    renamed = load_dataset(datasets.DatasetDict(parts), fields=(WORDS, LABEL), splits={"train": "unsupervised"})
    assert renamed["train"].text(0) == ["unsupervised", "one"]
    assert renamed.notes == ()
    parts["test"] = datasets.Dataset.from_dict({"text": ["a"], "label": [-1]}, features=features)
    with pytest.raises(DataError, match="test, row 0: 'label' holds -1, for which the column has no name"):
        load_dataset(datasets.DatasetDict(parts), fields=(WORDS, LABEL))


def test_parquet_files_keep_their_class_names(tmp_path):
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]})
    datasets.disable_progress_bars()
    table.cast_column("label", datasets.ClassLabel(names=["up", "down"])).to_parquet(tmp_path / "train.parquet")
    assert load_dataset(tmp_path, fields=(WORDS, LABEL))["train"].columns["label"].names == ("down", "up")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([True, False], ("False", "True")),
        ([" up", "up ", "down"], ("down", "up")),
        ([np.int64(3), np.str_("2")], ("2", "3")),
        ([-1, 0], ("-1", "0")),
    ],
)
def test_names_of_labels(values, names):
    data = [{"text": f"text {i}", "label": value} for i, value in enumerate(values)]
    assert load_dataset(data, fields=(WORDS, LABEL))["train"].columns["label"].names == names


@pytest.mark.parametrize(
    ("value", "labels"),
    [(["b", "a"], ["b", "a"]), ("b, a", ["b", "a"]), ("b|a;", ["b", "a"]), ("['b']", ["b"]), ("", []), (7, ["7"])],
)
def test_lists_of_labels(value, labels):
    data = [{"text": "a text here", "labels": value}]
    assert load_dataset(data, fields=(WORDS, LABELS))["train"].columns["labels"].of(0) == labels


@pytest.mark.parametrize(
    ("value", "numbers"),
    [([1, 0.5], [1, 0.5]), ("1 0.5", [1, 0.5]), ("[1, 0.5]", [1, 0.5]), ("1,.5", [1, 0.5]), (2, [2]), ([], [])],
)
def test_lists_of_numbers(value, numbers):
    field = replace(RELEVANCE, beside=None)
    assert (
        load_dataset([{"text": "a", "scores": value}], fields=(WORDS, field))["train"].columns["relevance"].of(0)
        == numbers
    )


def test_texts_may_be_strings_or_lists_of_words():
    data = [
        {"words": "in strings", "items": ["one text", "two"]},
        {"words": ["in", "New York"], "items": [["one", "New York"]]},
        {"words": "['a', 'New York']", "items": "['[UNK] one']"},
        {"words": "[UNK] it", "items": []},
    ]
    corpus = load_dataset(data, fields=(WORDS, CANDIDATES))["train"]
    assert [corpus.text(i) for i in range(4)] == [
        ["in", "strings"],
        ["in", "New York"],
        ["a", "New York"],
        ["[UNK]", "it"],
    ]
    items = corpus.columns["candidates"]
    assert [items.of(i) for i in range(4)] == [
        [["one", "text"], ["two"]],
        [["one", "New York"]],
        [["[UNK]", "one"]],
        [],
    ]
    assert items.vocabulary is corpus.vocabulary
    assert (items.words.dtype, items.item_offsets.dtype, items.lengths.tolist()) == (np.int32, np.int64, [2, 1, 1, 0])


def test_columns_are_named_by_field(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("a fine film\t1\nfilms\t0\n")
    dataset = load_dataset(path, fields=(WORDS, LABEL), columns={"words": 0, "label": -1})
    assert held(dataset["train"], (WORDS, LABEL)) == [
        {"text": "a fine film", "label": "1"},
        {"text": "films", "label": "0"},
    ]
    data = [{"body": "a fine film", "kind": "news", "text": "?"}]
    named = load_dataset(data, fields=(WORDS, LABEL), text_column="body", columns={"label": "kind"})
    assert held(named["train"], (WORDS, LABEL)) == [{"text": "a fine film", "label": "news"}]
    assert named.notes == ("column text is not read",)
    tone = Field("tone", "label", ("tone",))
    both = load_dataset([{"text": "a", "tone": "low", "label": "b"}], fields=(WORDS, LABEL, tone))["train"]
    assert (both.columns["label"].of(0), both.columns["tone"].of(0)) == (["b"], ["low"])


def test_without_fields_words_and_tags_are_taken():
    labelled = [{"text": "so so", "label": "O O"}, {"text": "fine", "label": "O"}]
    dataset = load_dataset(labelled)
    assert (dataset.tag_names, dataset.notes) == ((), ("column label is not read",))
    assert load_dataset([{"tokens": ["Ivo", "left"], "label": ["B-PER", "O"]}]).tag_names == ("O", "B-PER", "I-PER")
    assert load_dataset([{"tokens": ["Ivo", "left"], "label": 3}]).notes == ("column label is not read",)


def test_notes_count_columns_without_names(tmp_path):
    (tmp_path / "train.conll").write_text("1 Ivo NNP B-PER\n2 left VBD O\n")
    (tmp_path / "dev.conll").write_text("1 Ada NNP B-PER\n")
    assert load_dataset(tmp_path, token_column=1).notes == ("columns 0, 2 of 4 are not read",)
    assert load_dataset(tmp_path, token_column=1, fields=(WORDS,)).notes == ("columns 0, 2, 3 of 4 are not read",)
    path = tmp_path / "mine.csv"
    path.write_text("Sentence #,Word,POS,Tag\n1,Ivo,NNP,B-PER\n1,left,VBD,O\n")
    assert load_dataset(path).notes == ("column POS is not read",)
    path.write_text(",text,text\n0,one text,two\n")
    assert load_dataset(path).notes == ("columns (column 0), text (column 2) are not read",)
    frame = pandas.DataFrame({"text": ["a", "b"]}, index=pandas.Index([7, 8], name="key"))
    assert load_dataset(frame).notes == ("column key is not read",)
    twice = pandas.DataFrame([["one", "two"]], columns=["text", "text"])
    assert load_dataset(twice)["train"].text(0) == ["one"]
    assert load_dataset(twice).notes == ("column text (column 1) is not read",)
