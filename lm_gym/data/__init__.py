"""Readers: text files, the hub and builtin corpora → `Dataset` of columnar `Corpus` objects."""

from lm_gym.data.corpus import Corpus
from lm_gym.data.dataset import Dataset
from lm_gym.data.errors import DataError
from lm_gym.data.load import load_dataset

__all__ = ["Corpus", "DataError", "Dataset", "load_dataset"]
