"""Reading 200,000 tagged sentences: words per second, and memory relative to the resulting columns.

Targets: 300,000 words/s on one core; a peak of at most 3 times the columns. The file repeats the builtin NER corpus
with one word in fifty replaced by a new one, so that the vocabulary grows as in real text.

    python -m benchmarks.reading [--sentences 200000] [--formats conll jsonl csv]
"""

import argparse
import json
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lm_gym.data import Corpus, load_dataset
from lm_gym.metrics import entity_report


def sentences(count: int) -> Iterator[tuple[list[str], list[str]]]:
    train = load_dataset("builtin/ner")["train"]
    rng = np.random.default_rng(0)
    for number in range(count):
        words, tags = train.text(number % len(train)), train.tags_of(number % len(train))
        for place in np.flatnonzero(rng.random(len(words)) < 0.02):
            words[place] += str(number)
        yield words, tags


def write(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".csv":
            file.write("tokens,tags\n")
        for words, tags in sentences(count):
            if path.suffix == ".conll":
                file.writelines(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True))
                file.write("\n")
            elif path.suffix == ".jsonl":
                file.write(json.dumps({"tokens": words, "tags": tags}) + "\n")
            else:
                text = " ".join(words).replace('"', '""')
                file.write(f'"{text}",{" ".join(tags)}\n')


def columns_size(corpus: Corpus) -> tuple[int, int]:
    """Return the bytes of the arrays, and the bytes including the vocabulary."""
    assert corpus.tags is not None
    arrays = corpus.words.nbytes + corpus.offsets.nbytes + corpus.tags.nbytes
    return arrays, arrays + sum(word.__sizeof__() + 8 for word in corpus.vocabulary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=200_000)
    parser.add_argument("--formats", nargs="+", default=["conll", "jsonl", "csv"])
    arguments = parser.parse_args()
    for name in arguments.formats:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"texts.{name}"
            write(path, arguments.sentences)
            start = time.process_time()
            corpus = load_dataset(path)["train"]
            seconds = time.process_time() - start
            words = len(corpus.words)
            tracemalloc.start()
            kept = load_dataset(path)
            now, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        arrays, whole = columns_size(kept["train"])
        print(
            f"{name:6} {len(corpus):,} texts, {words:,} words, {len(corpus.vocabulary):,} distinct: "
            f"{words / seconds:,.0f} words/s; columns {arrays / 1e6:.1f} MB, with vocabulary {whole / 1e6:.1f} MB; "
            f"peak {peak / whole:.2f}x, kept {now / whole:.2f}x"
        )
    assert corpus.tags is not None
    start = time.process_time()
    entity_report(corpus.tags, np.zeros_like(corpus.tags), corpus.tag_names, corpus.offsets)
    print(f"entity report: {words / (time.process_time() - start):,.0f} words/s")


if __name__ == "__main__":
    main()
