"""Each format, and each way in which its files can be malformed."""

import io
import json

import numpy as np
import pyarrow.ipc
import pyarrow.parquet
import pytest

from lm_gym.data import DataError, load_dataset
from lm_gym.data.fields import TAGS, WORDS
from lm_gym.data.formats import FORMATS, format_of
from lm_gym.data.options import ReadOptions

TEXTS = [["EU", "rejects", "German", "call"], ["Peter", "Blackburn"], ["No", "one", "came"]]
TEXT_TAGS = [["B-ORG", "O", "B-MISC", "O"], ["B-PER", "I-PER"], ["O", "O", "O"]]
PAIRS = list(zip(TEXTS, TEXT_TAGS, strict=True))


def conll(pairs):
    return "\n".join("".join(f"{w} NN {t}\n" for w, t in zip(*pair, strict=True)) for pair in pairs)


def jsonl(pairs):
    return "".join(json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in pairs)


def tsv_of_words(pairs):
    return "word\ttag\n" + "\n".join("".join(f"{w}\t{t}\n" for w, t in zip(*pair, strict=True)) for pair in pairs)


def csv_of_texts(pairs):
    return "tokens,tags\n" + "".join(f"{' '.join(words)},{' '.join(tags)}\n" for words, tags in pairs)


def parquet(pairs):
    """Return the bytes of a Parquet file."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"tokens": [w for w, _ in pairs], "tags": [t for _, t in pairs]}), file)
    return file.getvalue()


def arrow(pairs):
    """Return the bytes of an Arrow file, as `datasets` writes it."""
    table = pyarrow.table({"tokens": [w for w, _ in pairs], "tags": [t for _, t in pairs]})
    file = io.BytesIO()
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


TAGGED = {
    "a.conll": conll(PAIRS),
    "a.txt": conll(PAIRS),
    "docs.conll": "-DOCSTART- -X- O\n\n" + conll(PAIRS).replace("\n\n", "\n\n-DOCSTART- -X- O\n\n\n"),
    "crlf.conll": conll(PAIRS).replace("\n", "\r\n"),
    "bom.conll": "\ufeff" + conll(PAIRS),
    "a.jsonl": jsonl(PAIRS),
    "a.parquet": parquet(PAIRS),
    "a.arrow": arrow(PAIRS),
    "ner_tags.jsonl": jsonl(PAIRS).replace('"tags"', '"ner_tags"'),
    "words.tsv": tsv_of_words(PAIRS),
    "no_header.tsv": tsv_of_words(PAIRS).removeprefix("word\ttag\n"),
    "texts.csv": csv_of_texts(PAIRS),
    "lists.csv": "id,tokens,tags\n" + "".join(f'{i},"{w}","{t}"\n' for i, (w, t) in enumerate(PAIRS)),
    "sentences.csv": "Sentence #,Word,POS,Tag\n"
    + "".join(
        f"{f'Sentence: {i}' if j == 0 else ''},{w},NN,{t}\n"
        for i, pair in enumerate(PAIRS)
        for j, (w, t) in enumerate(zip(*pair, strict=True))
    ),
}
PLAIN = {
    "a.txt": "".join(" ".join(words) + " \n \n" for words in TEXTS),
    "a.tokens": "".join(" ".join(words) + "\n" for words in TEXTS),
    "one_column.conll": conll(PAIRS)
    .replace(" NN B-ORG", "")
    .replace(" NN B-MISC", "")
    .replace(" NN O", "")
    .replace(" NN B-PER", "")
    .replace(" NN I-PER", ""),
    "text.jsonl": "".join(json.dumps({"text": " ".join(words), "label": 1}) + "\n\n" for words in TEXTS),
    "tokens.jsonl": "".join(json.dumps({"words": words}) + "\n" for words in TEXTS),
    "text.csv": "label,text\n" + "".join(f'1,"{" ".join(words)}"\n' for words in TEXTS),
    "one_column.csv": "".join(" ".join(words) + "\n" for words in TEXTS),
}


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(corpus):
    return [corpus.text(i) for i in range(len(corpus))]


@pytest.mark.parametrize("name", TAGGED)
def test_tagged_files_of_every_format_give_the_same_corpus(tmp_path, name):
    corpus = load_dataset(write(tmp_path, name, TAGGED[name]), fields=(WORDS, TAGS))["train"]
    assert texts(corpus) == TEXTS
    assert [corpus.tags_of(i) for i in range(len(corpus))] == TEXT_TAGS
    assert corpus.tag_names == ("O", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER")


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_of_every_format_give_the_same_corpus(tmp_path, name):
    dataset = load_dataset(write(tmp_path, name, PLAIN[name]), fields=(WORDS,))
    assert texts(dataset["train"]) == TEXTS
    assert (dataset["train"].tags, dataset.tag_names) == (None, ())
    with pytest.raises(DataError):
        load_dataset(tmp_path / name, fields=(WORDS, TAGS))


def test_every_format_has_a_file_above(tmp_path):
    files = [write(tmp_path, name, content) for name, content in [*TAGGED.items(), *PLAIN.items()]]
    assert {format_of(path, ReadOptions()) for path in files} == set(FORMATS)


def test_conll_columns_may_be_chosen(tmp_path):
    path = write(tmp_path, "a.conll", "1|EU|B-ORG|x y\n2|said|O|z\n\n1|Oslo|B-LOC|-\n")
    corpus = load_dataset(path, token_column=1, tag_column=-2, delimiter="|")["train"]
    assert texts(corpus) == [["EU", "said"], ["Oslo"]]
    assert corpus.tags_of(1) == ["B-LOC"]


def test_table_columns_may_be_chosen_by_name_or_number(tmp_path):
    named = write(tmp_path, "named.csv", 'id,body\n1,"a ""big"" one,\nof two lines"\n2,b c\n')
    assert texts(load_dataset(named, text_column="body")["train"]) == [
        ["a", '"big"', "one,", "of", "two", "lines"],
        ["b", "c"],
    ]
    numbered = write(tmp_path, "numbered.tsv", 'a "film\t1\nbad\t0\n')
    assert texts(load_dataset(numbered, text_column=0)["train"]) == [["a", '"film'], ["bad"]]
    tagged = write(tmp_path, "tagged.csv", "7,EU said,B-ORG O\n8,Oslo,B-LOC\n")
    assert load_dataset(tagged, token_column=1, tag_column=2)["train"].tags_of(0) == ["B-ORG", "O"]


BAD = [
    ("empty.conll", "", {}, r"empty\.conll: no texts"),
    ("blank.txt", "\n \n", {}, r"blank\.txt: no texts"),
    ("docs.conll", "-DOCSTART- -X- O\n\n", {}, "no texts"),
    ("ragged.conll", "a O\nb O\n\nc x O\n", {}, r"ragged\.conll, line 4: 3 columns, .* have 2: 'c x O'"),
    ("tag.conll", "a O\nb X-PER\n", {}, r"line 2: tag 'X-PER' fits no scheme.*tag_column"),
    ("lower.conll", "a O\nb i\n", {}, r"line 2: tag 'i' fits no scheme.*column 1, tag_column chooses another"),
    ("typeless.conll", "a O\nb B-\n", {}, r"line 2: tag 'B-' fits no scheme"),
    ("column.conll", "a O\n", {"tag_column": 2}, r"line 1: there is no column 2: give 0 to 1"),
    ("column.conll", "a O\n", {"tag_column": "ner"}, r"line 1: column 'ner': .* give a number"),
    ("bytes.conll", b"a O\n\nb\xff O\n", {}, r"bytes\.conll, line 3: byte 0xff is not UTF-8"),
    ("bytes.txt", b"a b\nc \xe9t\xe9\n", {}, r"bytes\.txt, line 2: byte 0xe9"),
    ("json.jsonl", '{"text": "a"}\n{"text": \n', {}, r"json\.jsonl, line 2: not a JSON object"),
    ("list.jsonl", '["a"]\n', {}, r"record 1: 'a' is not an object"),
    ("list.jsonl", '{"text": "a"}\n["a"]\n', {}, r"line 2: .* is not an object"),
    ("digits.jsonl", '{"text": ' + "1" * 5000 + "}", {}, "line 1: not a JSON object that can be read"),
    ("deep.jsonl", "[" * 100_000, {}, "record 1: not a JSON object that can be read"),
    ("keys.jsonl", '{"title": "a"}\n', {}, "line 1: no column of words or texts among title"),
    ("keys.jsonl", '{"title": "a"}\n', {"text_column": "titel"}, r"no column 'titel' \(did you mean 'title'\?\)"),
    ("missing.jsonl", '{"text": "a"}\n\n{"body": "b"}\n', {}, "line 3: no 'text', which earlier texts have"),
    ("empty.jsonl", '{"tokens": []}\n', {}, "no texts"),
    ("empty.jsonl", '{"tokens": [], "tags": ["O"]}\n', {}, "line 1: 0 words but 1 tags"),
    ("type.jsonl", '{"text": 3}\n', {}, "line 1: 'text' is 3: a string or a list of words is needed"),
    ("type.jsonl", '{"tokens": ["a", 3]}\n', {}, "line 1: 'tokens' holds 3: strings are needed"),
    ("type.jsonl", '{"tokens": ["a"], "tags": [3]}\n', {}, r"line 1: 'tags' holds 3: .* names=\{'tags'"),
    ("word.jsonl", '{"tokens": ["a"]}\n{"tokens": ["b", ""]}\n', {}, "line 2: '' is an empty word"),
    ("length.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', {}, "line 1: 2 words but 1 tags"),
    ("ner.jsonl", '{"tokens": ["a"]}\n', {"fields": (WORDS, TAGS)}, "no column of tags among tokens"),
    ("ner.jsonl", '{"text": "a"}\n', {"fields": (WORDS, TAGS)}, "no column of tags among text: a tag for"),
    ("ner.tokens", "a\n", {"fields": (WORDS, TAGS)}, "no columns and no tags: give JSONL, CSV, TSV"),
    ("ragged.csv", "text,label\na,1\n\nb\n", {}, r"ragged\.csv, line 4: 1 columns, .* have 2: 'b'"),
    ("empty.csv", "text,label\n", {}, "no texts"),
    ("quote.csv", 'text\n"a" b\n', {}, r"line 2: not a table"),
    ("quote.csv", 'text\nb\n"a\n', {}, r"line 3: not a table"),
    ("columns.csv", "1,a b\n2,c d\n", {}, "2 columns and no header: set text_column=0 to 1"),
    ("columns.csv", "1,a b\n2,c d\n", {"text_column": 2}, "there is no column 2: give 0 to 1"),
    ("both.csv", "a,b\n", {"text_column": 0, "token_column": 1}, "text_column excludes"),
    ("length.csv", "tokens,tags\na b,O\nc d,O O O\n", {}, "line 2: 2 words but 1 tags"),
    ("lists.csv", "tokens,tags\n\"['a']\",\"['O']\"\nb c,\"['O']\"\n", {}, "line 3: 2 words but 1 tags"),
    ("word.csv", "word,tag\na,O\n\nb,O\nc,X-Y\n", {}, "line 5: tag 'X-Y' fits no scheme"),
    ("word.csv", "word,tag\na,S-X\n\nb,O\nc,I-Y\n", {}, "line 5: tag 'I-Y' does not fit"),
    ("long.csv", "word,tag\n" + "a,O\n" * 2000, {}, "all 2000 form one text"),
    ("file.parquet", "PAR1", {}, "file.parquet: not a valid Parquet file"),
    ("a.conll", "a O\n", {"scheme": "iob3"}, r"unknown scheme 'iob3' \(did you mean 'iob2'\?\): one of auto"),
    ("a.conll", "a O\n", {"splits": {"test": "a.conll"}}, "is a single file"),
]


@pytest.mark.parametrize(("name", "content", "options", "message"), BAD)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path, name, content, options, message):
    with pytest.raises(DataError, match=message):
        load_dataset(write(tmp_path, name, content), **options)


def test_lines_of_a_table_count_quoted_line_breaks(tmp_path):
    path = write(tmp_path, "a.csv", 'tokens,tags\n"a\nb\nc",O O O\nd,O O\n')
    with pytest.raises(DataError, match="line 5: 1 words but 2 tags"):
        load_dataset(path)


def test_arrays_have_the_stated_types_and_are_read_only(tmp_path):
    corpus = load_dataset(write(tmp_path, "a.conll", conll(PAIRS)))["train"]
    assert (corpus.words.dtype, corpus.offsets.dtype, corpus.tags.dtype) == (np.int32, np.int64, np.int16)
    with pytest.raises(ValueError, match="read-only"):
        corpus.words[0] = 1
