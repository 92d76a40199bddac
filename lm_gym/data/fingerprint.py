"""The fingerprint of a dataset: a hash of all of its content."""

import hashlib
from collections.abc import Mapping

import numpy as np

from lm_gym.data.columns import LabelColumn
from lm_gym.data.corpus import Corpus


def described(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    """Return the kind of each column and the names of its labels, if any."""
    return {
        name: (column.kind, *(column.names if isinstance(column, LabelColumn) else ()))
        for name, column in corpus.columns.items()
    }


def fingerprint_of(splits: Mapping[str, Corpus]) -> str:
    """Return 16 hexadecimal digits of a SHA-256 over the vocabulary, all names and the arrays of each split."""
    digest = hashlib.sha256()
    first = next(iter(splits.values()))
    for names in (first.vocabulary, first.tag_names):
        for start in range(0, len(names), 4096):
            digest.update("\0".join(names[start : start + 4096]).encode("utf-8", "surrogatepass"))
        digest.update(b"\1")
    for split, corpus in splits.items():
        digest.update(f"{split} {len(corpus)} {corpus.offsets[-1]}\0".encode())
        for values in (corpus.words, corpus.offsets, corpus.tags):
            if values is not None:
                digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
        for name, column in sorted(corpus.columns.items()):
            digest.update("\0".join((name, *described(corpus)[name], "")).encode("utf-8", "surrogatepass"))
            for part in column.arrays():
                digest.update(f"{len(part)}\0".encode())
                digest.update(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)
    return digest.hexdigest()[:16]
