"""Records with every kind of field, files of them, and the values that a corpus holds."""

import json

from lm_gym.data import load_dataset
from lm_gym.data.fields import CANDIDATES, LABEL, LABELS, RELEVANCE, SECOND, TAGS, WORDS

RECORDS = [
    {
        "text": "Ivo saw Riga",
        "tags": ["B-PER", "O", "B-LOC"],
        "label": "travel",
        "labels": ["calm", "glad"],
        "second": "Did he see it ?",
        "candidates": ["so did I", "when ?"],
        "relevance": [1.0, 0.0],
    },
    {
        "text": "no trains today",
        "tags": ["O", "O", "O"],
        "label": "delay",
        "labels": [],
        "second": "[none]",
        "candidates": ["oh"],
        "relevance": [0.5],
    },
]
FIELDS = (WORDS, TAGS, LABEL, LABELS, SECOND, CANDIDATES, RELEVANCE)
NER, PLAIN, CLASSES = (WORDS, TAGS), (WORDS,), (WORDS, LABEL)
PAIRS = (WORDS, SECOND, LABEL)
NAMED = {"tags": ["O", "B-PER", "I-PER"]}


def jsonl(path, records):
    """Write records as JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def conll(path, records):
    """Write the words and tags of records as CoNLL."""
    texts = ("".join(f"{w} NN {t}\n" for w, t in zip(r["text"].split(), r["tags"], strict=True)) for r in records)
    path.write_text("\n".join(texts))


def value_of(corpus, field, text):
    """Return the values of a field in a corpus, in the form of `RECORDS`."""
    if field.kind == "words":
        return " ".join(corpus.text(text))
    if field.kind == "tags":
        return corpus.tags_of(text)
    value = corpus.columns[field.name].of(text)
    if field.kind == "texts":
        return [" ".join(words) for words in value]
    if field.kind == "text":
        return " ".join(value[0])
    return value[0] if field.kind == "label" else value


def column(field):
    """Return the key of a field in `RECORDS`."""
    return "text" if field.kind == "words" else field.columns[0]


def held(corpus, fields):
    """Return the records that a corpus holds, limited to these fields."""
    return [{column(field): value_of(corpus, field, text) for field in fields} for text in range(len(corpus))]


def chosen(fields, records=RECORDS):
    """Return `RECORDS`, limited to these fields."""
    return [{column(field): record[column(field)] for field in fields} for record in records]


def load(folder, name, content, **options):
    """Write a file and return the dataset that is read from it."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_dataset(path, **options)


def texts(dataset):
    """Return the words of every text of the first split."""
    train = next(iter(dataset.splits.values()))
    return [train.text(i) for i in range(len(train))]


def tags(dataset):
    """Return the tags of every text of the first split."""
    train = next(iter(dataset.splits.values()))
    return [train.tags_of(i) for i in range(len(train))]
