"""Label words: logits of labels out of those of a vocabulary, and how to read them without lm-gym."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch as th
from torch import nn

_README = """\
---
library_name: transformers
---
This language model gives a text one of the labels {labels}. Its answer is the word that it puts into a template. With
`transformers` alone:

```python
import torch
from transformers import {auto}, AutoTokenizer

folder = "."  # this one
model, tokenizer = {auto}.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
words = model.config.label_words
texts = {texts}
prompt = words["template"].format(**texts, mask=tokenizer.mask_token)
inputs = tokenizer(prompt, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits[0]
place = {place}
scores = [torch.stack([logits[place, ids].mean() for ids in label]).mean() for label in words["ids"]]
probabilities = (torch.stack(scores) - torch.tensor(words["prior"])).softmax(0)
print(dict(zip(model.config.id2label.values(), probabilities.tolist())))
```

`label_words` in `config.json` holds the template, the words of each label and their token ids, and the
log-probabilities of the labels that are subtracted (`prior`, zeros unless label words were calibrated).
"""


class LabelWordHead(nn.Module):
    """Logits of n labels: the mean logit of the tokens of each label's words, less a prior.

    A mean of log-probabilities differs from a mean of logits by the same number for all labels, which a softmax over
    labels takes no notice of.

    Args:
        ids: token ids by label and word; the tokens of a word weigh alike, and so do the words of a label.
        prior: n log-probabilities to subtract; None: zeros.
    """

    prior: th.Tensor

    def __init__(self, ids: Sequence[Sequence[Sequence[int]]], prior: Sequence[float] | None = None) -> None:
        super().__init__()
        columns = sorted({token for label in ids for word in label for token in word})
        weights = th.zeros(len(columns), len(ids))
        for number, label in enumerate(ids):
            for word in label:
                for token in word:
                    weights[columns.index(token), number] += 1.0 / (len(label) * len(word))
        self.register_buffer("_columns", th.tensor(columns), persistent=False)
        self.register_buffer("_weights", weights, persistent=False)
        self.register_buffer("prior", th.zeros(len(ids)) if prior is None else th.tensor(prior))

    def forward(self, logits: th.Tensor) -> th.Tensor:
        """Logits of labels, float32 [Q, n], of those of the vocabulary [Q, V]."""
        columns: Any = self._columns
        return logits[:, columns].float() @ self._weights - self.prior


def label_word_head(model: Any, label_words: Mapping[str, Any]) -> LabelWordHead:
    """The head of label words for a model; the model's configuration takes note of them.

    A prior is measured on the model as it is, once: a checkpoint with the same label words keeps its own.

    Args:
        model: a PositionModel over a language model.
        label_words: `lm_gym.tasks.label_words.LabelWords` as plain values.
    """
    config = model.network.config
    stored = getattr(config, "label_words", None) or {}
    same = all(stored.get(name) == label_words[name] for name in ("ids", "content_free"))
    prior = stored["prior"] if same else _measured(model, label_words)
    config.label_words = {**label_words, "prior": prior}
    return LabelWordHead(label_words["ids"], prior)


def _measured(model: Any, label_words: Mapping[str, Any]) -> list[float]:
    """Log of the mean probability of each label over the texts without content; zeros if there are none."""
    head = LabelWordHead(label_words["ids"])
    if not label_words["content_free"]:
        return [0.0] * len(head.prior)
    training = model.training
    model.eval()
    said = []
    with th.no_grad():
        for ids, place in zip(label_words["content_free"], label_words["places"], strict=True):
            text = th.tensor([ids], device=model.network.device)
            logits, _ = model(text, th.ones_like(text), th.tensor([0]), th.tensor([place]))
            said.append(head(logits.cpu()).softmax(-1)[0])
    model.train(training)
    measured: list[float] = th.stack(said).mean(0).log().tolist()
    return measured


def readme(network: Any) -> str:
    """How to read the labels of a checkpoint with label words by transformers alone, Markdown."""
    template, labels = network.config.label_words["template"], network.config.id2label.values()
    masked = "{mask}" in template
    names = [name for name in ("text", "second") if f"{{{name}}}" in template]
    return _README.format(
        labels=", ".join(labels),
        auto="AutoModelForMaskedLM" if masked else "AutoModelForCausalLM",
        texts=f"dict({', '.join(f'{name}={chr(34)}…{chr(34)}' for name in names)})",
        place="inputs.input_ids[0].tolist().index(tokenizer.mask_token_id)" if masked else "-1",
    )
