"""A warning names models whose results depend on the padding of a batch, and only those."""

import warnings

import pytest
import torch as th
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from lm_gym.agents.model import padding
from lm_gym.agents.model.padding import warn_if_padding_is_read
from tests.policies import CAUSAL, OTHERS, SIZES

READERS = {  # by architecture; all mix neighbouring tokens, including padding
    "fnet": {**SIZES, "pad_token_id": 3},
    "convbert": {**SIZES, "embedding_size": 16, "conv_kernel_size": 3, "num_groups": 1, "head_ratio": 1},
    "funnel": OTHERS["funnel"],
}
OTHER = {"bert": SIZES, "roberta": SIZES, "roformer": {**SIZES, "embedding_size": 16}, "gpt2": CAUSAL}


@pytest.fixture(autouse=True)
def nothing_found(monkeypatch):
    """Forget the results of trials in other tests."""
    monkeypatch.setattr(padding, "_FOUND", {})


def model(architecture, sizes, kind=AutoModelForTokenClassification):
    th.manual_seed(0)
    wide = {"initializer_range": 0.5} if architecture != "gpt2" else {}
    config = AutoConfig.for_model(architecture, vocab_size=50, max_position_embeddings=40, **sizes, **wide)
    return kind.from_config(config)


@pytest.mark.parametrize("architecture", READERS)
def test_models_that_read_padding_are_named(architecture):
    network = model(architecture, READERS[architecture])
    name = type(network).__name__
    with pytest.warns(UserWarning, match=f"{name} reads padding: .* use another model, or num_envs=1"):
        warn_if_padding_is_read(network, 40)


@pytest.mark.parametrize("architecture", OTHER)
def test_other_models_are_not(architecture):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_padding_is_read(model(architecture, OTHER[architecture]), 40)


def test_classifiers_of_texts_are_tried_as_such():
    network = model("fnet", READERS["fnet"], AutoModelForSequenceClassification)
    with pytest.warns(UserWarning, match="FNetForSequenceClassification reads padding"):
        warn_if_padding_is_read(network, 40, classifies_texts=True)


def test_texts_of_few_tokens_are_not_tried():
    network = model("fnet", READERS["fnet"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_padding_is_read(network, 8)  # shorter than the longer text of the trial
