"""How to use a saved policy in plain transformers, for model cards."""

from __future__ import annotations

from lm_gym.agents.model.label_words import usage as label_word_usage
from lm_gym.agents.model.pointer import SHARPNESS
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.towers import SCALE

_PIPELINE = '```python\nfrom transformers import pipeline\n\nprint(pipeline("{task}", "FOLDER"{more})({text}))\n```\n'
_LOAD = """\
```python
import torch
from torch.nn.functional import normalize
from transformers import AutoModelForTokenClassification, AutoTokenizer

model, tokenizer = AutoModelForTokenClassification.from_pretrained("FOLDER"), AutoTokenizer.from_pretrained("FOLDER")
marker = model.config.pointer["marker"]
end = tokenizer.convert_ids_to_tokens(marker)
context, candidates = "…", ["yes", "no"]
"""
_CANDIDATES = {
    "pointer": """\
ids = tokenizer(end.join([context, *candidates, ""]), return_tensors="pt").input_ids
with torch.no_grad():
    scores, states = model(ids).logits[0, :, 0], normalize(model.base_model(ids)[0][0], dim=-1)
places = (ids[0] == marker).nonzero().flatten().tolist()
logits = []
for before, place in zip(places, places[1:]):  # of the candidate between two markers
    covered = (states[before + 1 : place] @ states[: places[0]].T).amax(1).mean()
    logits.append(scores[place] + SHARPNESS * model.config.pointer["similarity"] * covered)
print(dict(zip(candidates, torch.stack(logits).softmax(0).tolist())))
```
""".replace("SHARPNESS", str(SHARPNESS)),
    "similarity": """\


def embed(text):
    ids = tokenizer(text + end, return_tensors="pt").input_ids
    with torch.no_grad():
        return normalize(model(ids).logits[0].mean(0), dim=-1)


logits = SCALE * torch.stack([embed(candidate) for candidate in candidates]) @ embed(context)
print(dict(zip(candidates, logits.softmax(0).tolist())))
```
""".replace("SCALE", str(SCALE)),
}


def pipeline_of(policy: LMPolicy) -> str:
    """Return the name of the transformers pipeline for a policy, which is also its kind on the Hugging Face hub."""
    if policy.head == "labels" or policy.head in _CANDIDATES:
        return "token-classification"
    if policy.head in ("text_labels", "label_words"):
        return "text-classification"
    return "fill-mask" if type(policy.network).__name__.endswith("ForMaskedLM") else "text-generation"


def usage(policy: LMPolicy) -> str:
    """Return Markdown that shows how to load a saved policy in transformers; `FOLDER` is the folder or hub id."""
    if policy.head == "label_words":
        return label_word_usage(policy.network)
    if policy.head in _CANDIDATES:
        return _LOAD + _CANDIDATES[policy.head]
    task = pipeline_of(policy)
    text = '"The [MASK] sat on the mat."' if task == "fill-mask" else '"…"'
    more = ', aggregation_strategy="first"' if task == "token-classification" else ""
    return _PIPELINE.format(task=task, more=more, text=text)
