"""Rows without words, words with unusual characters, and lines that are too long."""

import io
import json
import time

import datasets
import pandas
import pyarrow.parquet
import pytest

from lm_gym.data import DataError, load_dataset
from lm_gym.data.fields import CANDIDATES, WORDS
from tests.fields import CLASSES, NER, load, tags, texts


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
