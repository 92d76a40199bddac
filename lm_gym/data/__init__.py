"""Readers of files, the hub, Python data and builtin corpora, which return a `Dataset` of columnar `Corpus` objects."""

from lm_gym.data.columns import Column, LabelColumn, NumbersColumn, TextsColumn
from lm_gym.data.corpus import Corpus
from lm_gym.data.dataset import Dataset
from lm_gym.data.errors import DataError, OtherFields
from lm_gym.data.fields import Field
from lm_gym.data.load import load_dataset

__all__ = [
    "Column",
    "Corpus",
    "DataError",
    "Dataset",
    "Field",
    "LabelColumn",
    "NumbersColumn",
    "OtherFields",
    "TextsColumn",
    "load_dataset",
]
