"""Ambiguous files are read correctly, refused, or noted, but never silently read wrongly."""

import io
import json
import time
from functools import partial

import datasets
import gymnasium
import numpy as np
import pandas
import pyarrow.parquet
import pytest

from lm_gym.data import DataError, load_dataset
from lm_gym.data.fields import CANDIDATES, LABEL, SECOND, TAGS, WORDS
from lm_gym.data.folder import NAMES

NER, PLAIN, CLASSES = (WORDS, TAGS), (WORDS,), (WORDS, LABEL)
PAIRS = (WORDS, SECOND, LABEL)
NAMED = {"tags": ["O", "B-PER", "I-PER"]}
IVA = [["Iva", "left"], ["Bo", "ran", "off"]]
IVA_TAGS = [["B-PER", "O"], ["B-PER", "O", "O"]]


def load(folder, name, content, **options):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_dataset(path, **options)


def texts(dataset):
    train = next(iter(dataset.splits.values()))
    return [train.text(i) for i in range(len(train))]


def tags(dataset):
    train = next(iter(dataset.splits.values()))
    return [train.tags_of(i) for i in range(len(train))]


TAGGED = {  # content and options by name; each file contains IVA with IVA_TAGS
    "comments.conll": "# one line\n# and another of five\nIva B-PER\nleft O\n\n# id O x\nBo B-PER\nran O\noff O\n",
    "wide_comments.conll": "\n# id 7f\ta=b\nIva _ _ B-PER\nleft _ _ O\n\n# id 8\tc=d\nBo _ _ B-PER\nran _ _ O\n"
    "off _ _ O\n",
    "comments.tsv": (
        "#\tsource a\n1\tIva\tB-PER\tO\n2\tleft\tO\tO\n\n#\tsource b\n1\tBo\tB-PER\tO\n2\tran\tO\tO\n3\toff\tO\tO\n",
        {"token_column": 1, "tag_column": 2},
    ),
    "above.csv": "# made by hand\nword,tag\nIva,B-PER\nleft,O\n\nBo,B-PER\nran,O\noff,O\n",
    "header.conll": "token pos ner\nIva NN B-PER\nleft VB O\n\nBo NN B-PER\nran VB O\noff RB O\n",
    "doubled.conll": "Iva B-PER\r\r\nleft O\r\r\n\r\r\nBo B-PER\r\r\nran O\r\r\noff O\r\r\n",
    "doubled.csv": "word,tag\r\r\nIva,B-PER\r\r\nleft,O\r\r\n,\r\r\nBo,B-PER\r\r\nran,O\r\r\noff,O\r\r\n",
    "spaced.csv": "sentence,word,tag\n1,Iva,B-PER\n\n1,left,O\n\n2,Bo,B-PER\n\n2,ran,O\n\n2,off,O\n",
    "tabs.conll": ("Iva\tB-PER\nleft\tO\n\t\nBo\tB-PER\nran\tO\noff\tO\n", {"delimiter": "\t"}),
    "semicolons.csv": "word;tag\nIva;B-PER\nleft;O\n;\nBo;B-PER\nran;O\noff;O\n",
    "excel.csv": "sep=;\nword;tag\nIva;B-PER\nleft;O\n;\nBo;B-PER\nran;O\noff;O\n",
    "foreign.csv": (
        "nr,mot,marque\n1,Iva,B-PER\n2,left,O\n\n1,Bo,B-PER\n2,ran,O\n3,off,O\n",
        {"token_column": 1, "tag_column": 2},
    ),
    "numpy.csv": "tokens,tags\n\"['Iva' 'left']\",\"['B-PER' 'O']\"\n"
    "\"array(['Bo', 'ran',\n 'off'], dtype=object)\",B-PER O O\n",
    "numbers.csv": ("tokens,ner_tags\nIva left,1 0\n\"['Bo' 'ran' 'off']\",[1 0 0]\n", {"names": NAMED}),
    "numbers.jsonl": (
        '{"tokens": ["Iva", "left"], "ner_tags": [1, 0]}\n{"tokens": ["Bo", "ran", "off"], "ner_tags": [1, 0, 0]}\n',
        {"names": NAMED},
    ),
    "numbers.conll": ("Iva 1\nleft 0\n\nBo 1\nran 0\noff 0\n", {"names": NAMED}),
    "numbers.tsv": ("word\ttag\nIva\t1\nleft\t0\n\nBo\t1\nran\t0\noff\t0\n", {"names": NAMED}),
    "array.json": '[{"tokens": ["Iva", "left"], "tags": ["B-PER", "O"]},\n'
    ' {"tokens": ["Bo", "ran", "off"], "tags": ["B-PER", "O", "O"]}]',
    "jsonl.txt": '{"words": "Iva left", "tags": "B-PER O"}\n{"words": "Bo ran off", "tags": "B-PER O O"}\n',
    "types.conll": "Iva PER\nleft O\n\nBo PER\nran O\noff O\n",
    "types.txt": "Iva PER\nleft O\n\nBo PER\nran O\noff O\n",
    "bmes.conll": "Iva S-PER\nleft O\n\nBo S-PER\nran O\noff O\n",
}


@pytest.mark.parametrize("name", TAGGED)
def test_the_same_texts_in_odd_files(tmp_path, name):
    content, options = TAGGED[name] if isinstance(TAGGED[name], tuple) else (TAGGED[name], {})
    tagged = load(tmp_path, name, content, fields=NER, **options)
    assert (texts(tagged), tags(tagged)) == (IVA, IVA_TAGS)
    if "tag_column" not in options and "names" not in options:  # words do not depend on whether tags are read
        assert texts(load_dataset(tmp_path / name, fields=PLAIN, **options)) == IVA


PLAINLY = {
    "count.csv": "words,text\n2,Iva left\n3,Bo ran off\n",
    "count.jsonl": '{"words": 2, "text": "Iva left"}\n{"words": 3, "text": "Bo ran off"}\n',
    "lists.csv": "tokens,tags\n\"['Iva', 'left']\",\"['B-PER', 'O']\"\n"
    "\"['Bo', 'ran', 'off']\",\"['B-PER', 'O', 'O']\"\n",
    "tuples.csv": "tokens\n\"('Iva', 'left')\"\n\"('Bo', 'ran', 'off')\"\n",
    "tight.csv": 'tokens\n"[""Iva"",""left""]"\n"[""Bo"",""ran"",""off""]"\n',
    "commas.csv": "text;day\nIva left;a, b\nBo ran off;c, d\n",
    "tabs.csv": "text\tday\nIva left\ta,b\nBo ran off\tc,d\n",
    "commas.tsv": "text,day\nIva left,a\nBo ran off,b\n",
    "number.csv": ("no,review\n1,Iva left\n2,Bo ran off\n", {"text_column": 1}),
    "said.csv": ("review,day\nIva left,a\nBo ran off,b\n", {"text_column": 0, "header": True}),
}


@pytest.mark.parametrize("name", PLAINLY)
def test_the_same_words_in_odd_tables(tmp_path, name):
    content, options = PLAINLY[name] if isinstance(PLAINLY[name], tuple) else (PLAINLY[name], {})
    assert texts(load(tmp_path, name, content, fields=PLAIN, **options)) == IVA


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


def test_a_hash_may_be_a_word(tmp_path):
    content = "#snow B-EVENT\nfell O\n# O\n\n# note to self\nIva O\n"
    assert texts(load(tmp_path, "a.conll", content)) == [["#snow", "fell", "#"], ["Iva"]]
    assert texts(load(tmp_path, "b.conll", "#snow event\nfell O\n\n#rain event\nIva person\n")) == [
        ["#snow", "fell"],
        ["#rain", "Iva"],
    ]
    assert texts(load(tmp_path, "c.csv", "text,label\n#snow fell,1\nIva left,0\n")) == [
        ["#snow", "fell"],
        ["Iva", "left"],
    ]


def test_brackets_may_be_words(tmp_path):
    content = 'tokens\n[1] see\n[UNK] it\n"[laughs, loudly] hm"\n[x]\n'
    assert texts(load(tmp_path, "a.csv", content))[0] == ["[1]", "see"]
    assert texts(load(tmp_path, "b.csv", "text\n[Iva and Bo]\n")) == [["[Iva", "and", "Bo]"]]


def test_both_halves_of_a_surrogate_are_one_character(tmp_path):
    content = 'tokens\n"[""Zo\\u00eb"", ""\\ud83c\\udf89""]"\n'
    assert texts(load(tmp_path, "a.csv", content)) == [["Zoë", "\U0001f389"]]


def test_lone_surrogates_and_zero_bytes_are_refused_wherever_they_stand():
    for bad in ("\ud83c", "a\0b"):
        with pytest.raises(DataError, match=r"row 1: .* has a (lone surrogate|zero byte)"):
            load_dataset([{"text": "a"}, {"text": f"b {bad}"}])
        with pytest.raises(DataError, match=r"row 1: .* has a (lone surrogate|zero byte)"):
            load_dataset(
                [{"text": "a", "items": ["b"]}, {"text": "a", "items": ["c", bad]}], fields=(WORDS, CANDIDATES)
            )
        with pytest.raises(DataError, match=r"row 0: 'label' .* has a (lone surrogate|zero byte)"):
            load_dataset([{"text": "a", "label": bad}], fields=CLASSES)
        with pytest.raises(DataError, match=r"row 0: tag .* fits no scheme"):
            load_dataset([{"tokens": ["a"], "tags": [f"B-{bad}"]}], fields=NER)


def parquet_bytes(table):
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


EMPTY = {
    "jsonl": lambda folder, rows: load(folder, "a.jsonl", "".join(json.dumps({"text": r}) + "\n" for r in rows)),
    "csv": lambda folder, rows: load(folder, "a.csv", "id,text\n" + "".join(f"1,{r or ''}\n" for r in rows)),
    "parquet": lambda folder, rows: load(folder, "a.parquet", parquet_bytes(pyarrow.table({"text": rows}))),
    "pandas": lambda _, rows: load_dataset(pandas.DataFrame({"text": rows})),
    "datasets": lambda _, rows: load_dataset(datasets.Dataset.from_dict({"text": rows})),
    "records": lambda _, rows: load_dataset([{"text": r} for r in rows]),
}


@pytest.mark.parametrize("source", EMPTY)
def test_rows_without_words_are_left_out_and_counted(tmp_path, source):
    rows = ["", "Iva left .", " ", None, "Bo ran ."]
    dataset = EMPTY[source](tmp_path, rows)
    assert texts(dataset) == [["Iva", "left", "."], ["Bo", "ran", "."]]
    assert "train: 3 of 5 rows have no words and are left out" in dataset.notes
    with pytest.raises(DataError, match="no texts"):
        EMPTY[source](tmp_path, ["", " "])


def test_an_empty_row_has_no_label_and_no_tags():
    rows = [{"text": "", "label": None}, {"text": "Iva left", "label": "a"}]
    train = load_dataset(rows, fields=CLASSES)["train"]
    assert [train.columns["label"].of(i) for i in range(len(train))] == [["a"]]
    table = datasets.Dataset.from_dict({"tokens": [[], ["Iva", "left"]], "ner_tags": [[], [1, 0]]})
    table = table.cast_column("ner_tags", datasets.List(datasets.ClassLabel(names=["O", "B-PER"])))
    assert tags(load_dataset(table, fields=NER)) == [["B-PER", "O"]]


@pytest.mark.parametrize("source", ["jsonl", "csv", "datasets", "tuple"])
def test_integers_are_named_whatever_holds_them(tmp_path, source):
    rows = {"text": ["Iva left", "Bo ran"], "label": [1, 0]}
    if source == "jsonl":
        data = tmp_path / "a.jsonl"
        data.write_text(
            "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in zip(*rows.values(), strict=True))
        )
    elif source == "csv":
        data = tmp_path / "a.csv"
        data.write_text("text,label\nIva left,1\nBo ran,0\n")
    else:
        data = (
            datasets.Dataset.from_dict(rows)
            if source == "datasets"
            else [(["Iva", "left"], np.int64(1)), (["Bo", "ran"], 0)]
        )
    train = load_dataset(data, fields=CLASSES, names={"label": ["bad", "good"]})["train"]
    assert [train.columns["label"].of(i) for i in range(2)] == [["good"], ["bad"]]


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
    with pytest.raises(DataError, match="no split of a usual name; it has body"):
        load_dataset({"body": [["Iva"]]})


def test_long_lines_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        file.write('{"text": "Iva"}\n' + '{"text": "' + "word " * 2_100_000 + '"}\n')
    began = time.process_time()
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: longer than 10,000,000 bytes"):
        load_dataset(path)
    assert time.process_time() - began < 2
    with pytest.raises(DataError, match="row 0: 'text' holds 10,000,001 characters"):
        load_dataset([{"text": "x" * 10_000_001}])


def test_a_long_file_of_short_lines_is_read(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("w") as file:
        file.writelines(f"{'x' * 999_990} {i}\n" for i in range(15))
    assert len(load_dataset(path)["train"]) == 15
