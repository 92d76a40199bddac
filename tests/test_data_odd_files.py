"""Files with odd layouts are read correctly: comments, headers, delimiters, printed arrays."""

import json

import datasets
import numpy as np
import pytest

from lm_gym.data import load_dataset
from tests.fields import CLASSES, NAMED, NER, PLAIN, load, tags, texts

IVA = [["Iva", "left"], ["Bo", "ran", "off"]]
IVA_TAGS = [["B-PER", "O"], ["B-PER", "O", "O"]]
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
