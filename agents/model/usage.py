"""How to use a saved policy in plain transformers, for model cards."""

from __future__ import annotations

from lm_gym.agents.model.label_words import usage as label_word_usage
from lm_gym.agents.model.policy import LMPolicy

_PIPELINE = '```python\nfrom transformers import pipeline\n\nprint(pipeline("{task}", "FOLDER"{more})({text}))\n```\n'


def pipeline_of(policy: LMPolicy) -> str:
    """Return the name of the transformers pipeline for a policy, which is also its kind on the Hugging Face hub."""
    if policy.head in ("labels", "pointer"):
        return "token-classification"
    if policy.head in ("text_labels", "label_words"):
        return "text-classification"
    return "fill-mask" if type(policy.network).__name__.endswith("ForMaskedLM") else "text-generation"


def usage(policy: LMPolicy) -> str:
    """Return Markdown that shows how to load a saved policy in transformers; `FOLDER` is the folder or hub id."""
    if policy.head == "label_words":
        return label_word_usage(policy.network)
    task = pipeline_of(policy)
    text = '"The [MASK] sat on the mat."' if task == "fill-mask" else '"…"'
    more = ', aggregation_strategy="first"' if task == "token-classification" else ""
    return _PIPELINE.format(task=task, more=more, text=text)
