"""Guesses about ambiguous files are noted, and what cannot be guessed is refused."""

from functools import partial

import gymnasium
import pytest

from lm_gym.data import DataError, load_dataset
from lm_gym.data.folder import NAMES
from tests.fields import NAMED, PAIRS, PLAIN, load, texts

REFUSED = [
    ("a.csv", "Iva left;1\nBo ran;0\n", {}, "cells may be separated by ',' or ';': set delimiter="),
    ("a.csv", "words,body\n2,Iva left\n3,Bo ran\n", {}, "column 'words' holds numbers only: set token_column or text_"),
    ("a.csv", 'tokens\n"[Iva, left]"\n', {}, "a list of items without quotes: write lists as JSON"),
    ("a.csv", "tokens\n\"['Iva', 'left'\"\n", {}, "a list that cannot be read: write lists as JSON"),
    ("a.csv", "tokens\n\"['a' 'b' ... 'z']\"\n", {}, r"a list that NumPy cut short by '\.\.\.'"),
    ("a.csv", 'tokens\n"[101, 7592]"\n', {}, "'tokens' holds 101: strings are needed"),
    ("a.csv", "a,b\nIva left,x y\n", {"header": False, "text_column": "a"}, "header=False, so columns have no names"),
    ("a.csv", "a||b\n", {"delimiter": "||"}, "give a single character"),
    ("a.csv", "a,b\n", {"delimiter": ""}, "delimiter='': give the characters between columns"),
    ("a.conll", "Iva;B-PER\nleft;O\n", {}, "columns seem to be separated by ';': set delimiter=';'"),
    ("a.conll", "Iva NNP\nleft VBD\n", {}, r"tag 'NNP' fits no scheme: .* scheme='io' .*column 1, tag_column chooses"),
    ("a.conll", "Iva B_PER\nleft O\n", {}, "tag 'B_PER' fits no scheme"),
    ("a.conll", "Iva PER-B\nleft O\n", {}, "tag 'PER-B' fits no scheme"),
    ("a.conll", "Iva b-per\nleft o\n", {}, "tag 'b-per' fits no scheme"),
    ("a.conll", "Iva B-PER\nleft LOC\n", {}, "line 2: tag 'LOC' fits no scheme"),
    ("a.conll", "Iva PER\nleft O\n", {"scheme": "iob2"}, "tag 'PER' fits no scheme"),
    ("a.conll", "Iva B-PER\nleft O\n", {"scheme": "io"}, "tag 'B-PER' fits no scheme: scheme='io' reads O and types"),
    ("a.conll", "Iva 1\nleft 0\n", {}, r"line 1: tag '1' fits no scheme: it is a number: name them, as in names="),
    ("a.conll", "Iva 3\nleft 0\n", {"names": NAMED}, "line 1: tag 3 has no name: there are 3, 0 to 2"),
    ("a.conll", "Iva O\nleft 0\n", {"names": NAMED}, "tags 'O' and '0' are both 'O'"),
    ("a.jsonl", '{"tokens": ["Iva"], "tags": [9]}\n', {"names": NAMED}, "'tags' holds 9, for which the column has no"),
    ("a.jsonl", '{"tokens": ["Iva"], "tags": ["O"]}\n', {"names": {"tag": []}}, "names: no field 'tag' .*did you mean"),
    ("a.jsonl", '{"tokens": ["Iva", "\\ud83c"]}\n', {}, r"line 1: '\\ud83c' has a lone surrogate"),
    ("a.txt", "Iva\n".encode("utf-16"), {}, "the file is UTF-16: convert"),
    ("a.txt", "Iva\n".encode("utf-16-le"), {"fields": PLAIN}, "has a zero byte: is the file UTF-16"),
    ("a.conll", "w O\n" * 1001, {}, "each line is a word, and all 1001 form one text"),
    ("a.txt", "w " * 1_000_001, {"fields": PLAIN}, "line 1: a text of 1,000,001 words"),
]


@pytest.mark.parametrize(("name", "content", "options", "message"), REFUSED)
def test_what_cannot_be_guessed_is_refused(tmp_path, name, content, options, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, name, content, **options)


REMARKS = [
    ("a.conll", "# x\nIva B-PER\nleft O\n", {}, "train: 1 comment lines (#) are skipped"),
    ("a.csv", "# x\nword,tag\nIva,B-PER\nleft,O\n", {}, "train: 1 comment rows (#) are skipped"),
    ("a.conll", "Iva B-PER\n\nleft O\n", {}, "train: every text has one word (a blank line after every word?)"),
    ("a.jsonl", '{"word": "Iva", "tag": "O"}\n' * 2, {}, "train: every text has one word (one text for every word?)"),
    ("a.conll", "Iva O\r\r\nleft O\r\r\n", {}, "train: line breaks are doubled (CR CR LF): each is read as one"),
    ("a.conll", "word tag\nIva O\nleft O\n", {}, "train: line 1 names the columns and is not a text"),
    (
        "a.conll",
        "Iva PER\nleft O\n",
        {},
        "tags are types alone (PER): neighbouring words of one type are read as one entity",
    ),
    (
        "a.csv",
        "review\nIva left\nBo ran\n",
        {},
        "train: the first row, 'review', is read as a text: set header=True if it is a header",
    ),
    (
        "a.txt",
        "Iva NN\nran VB\n\n" * 5,
        {},
        "train: every line has 2 words, and some are blank: if each line is a word, rename the file to .conll",
    ),
    (
        "a.jsonl",
        '{"text": ""}\n{"text": "Iva left"}\n{"text": null}\n',
        {},
        "train: 2 of 3 rows have no words and are left out",
    ),
]


@pytest.mark.parametrize(("name", "content", "options", "note"), REMARKS)
def test_what_was_guessed_is_remarked_on(tmp_path, name, content, options, note):
    assert note in load(tmp_path, name, content, **options).notes


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ("all went well,{}\n", {"words": 0, "label": 1}),
        ("{},all went well\n", {"words": 1, "label": 0}),
        ("{},all went well,more of it\n", {"words": 1, "second": 2, "label": 0}),
    ],
)
def test_texts_and_their_labels_need_no_header(tmp_path, row, columns):
    content = "".join(row.format(label) for label in (1, 2, 1, 2))
    asked = load(tmp_path, "asked.csv", content, fields=PAIRS, columns=columns)
    found = load(tmp_path, "a.csv", content, fields=PAIRS)
    assert found["train"].columns["label"].names == ("1", "2")
    assert [*found["train"].columns] == [*asked["train"].columns]
    assert texts(found) == texts(asked) == [["all", "went", "well"]] * 4
    named = ", ".join(f"{name} from column {column}" for name, column in columns.items())
    assert found.notes == (f"train: there is no header: {named}; set columns={{…}} if that is wrong",)


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("all went well,1\nall is bad,2\n", PAIRS),  # as many labels as texts
        ("well,1\nbad,2\n" * 4, PAIRS),  # words, and which is the label?
        ("a b,c d,e f,1\n" * 4, PAIRS),  # more texts than fields
        ("all went well,1\n" * 4, PLAIN),  # no label is asked for
    ],
)
def test_columns_without_a_header_are_not_guessed_if_in_doubt(tmp_path, content, fields):
    with pytest.raises(DataError, match="columns and no header: set"):
        load(tmp_path, "a.csv", content, fields=fields)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_usual_name_of_a_split_is_read(tmp_path, name):
    (tmp_path / f"{name}.conll").write_text("Iva B-PER\nleft O\n")
    dataset = load_dataset(tmp_path)
    assert ([*dataset.splits], dataset.notes) == ([NAMES[name]], ())
    assert [*load_dataset({name.upper(): [["Iva"]]}).splits] == [NAMES[name]]


def test_files_that_are_passed_over_are_named(tmp_path):
    for name in ("train.conll", "big.train.conll", "more.conll", "README.md", "LICENSE", "notes.py"):
        (tmp_path / name).write_text("Iva B-PER\nleft O\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "figures").mkdir()
    note = "files big.train.conll, dev, more.conll are not read: no usual name of a split"
    assert load_dataset(tmp_path).notes == (note,)
    assert load_dataset(tmp_path, splits={"train": "more.conll"}).notes == ()


def test_overlap_is_refused_where_an_environment_trains(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.conll").write_text("Iva B-PER\nleft O\n")
    make = partial(gymnasium.make, "lm_gym/NER-v0", dataset=str(tmp_path))
    assert make(split="test").unwrapped.dataset.overlap == {("train", "test"): 1}
    with pytest.raises(DataError, match="above max_overlap"):
        make()


def test_no_data_at_all():
    with pytest.raises(DataError, match=r"there is no split in it: give texts by split, as in \{'train'"):
        load_dataset({})
