"""Label words: logits of labels from logits of the vocabulary, and how to compute them without lm-gym."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch as th
from torch import nn

_HEADER = "---\nlibrary_name: transformers\n---\n"
_USAGE = """\
This language model gives a text one of the labels {labels}, by the word that it predicts in a template. To use it with
`transformers`:

```python
import torch
from transformers import {auto}, AutoTokenizer

folder = "."  # this folder
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

`label_words` in `config.json` holds the template, the words of each label, their token ids, and the log-probabilities
that calibration subtracts (`prior`; zeros without calibration).
"""


class LabelWordHead(nn.Module):
    """Compute the logits of n labels: the mean logit of the tokens of each label's words, minus a prior.

    Mean log-probabilities differ from mean logits by the same constant for all labels, so a softmax over the labels is
    the same for both.

    Args:
        ids: token ids by label and word. The tokens of a word, and the words of a label, have equal weights.
        prior: n log-probabilities to subtract; None for zeros.
    """

    _columns: th.Tensor
    _weights: th.Tensor
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
        """Return the logits of the labels, float32 [Q, n], from those of the vocabulary [Q, V]."""
        return logits[:, self._columns].float() @ self._weights - self.prior


def label_word_head(model: Any, label_words: Mapping[str, Any]) -> LabelWordHead:
    """Create the head of label words for a model, and store the words in the model's configuration.

    The prior is measured once, with the current weights. A checkpoint with the same label words keeps its prior.

    Args:
        model: a PositionModel with a language model.
        label_words: `lm_gym.tasks.label_words.LabelWords` as plain values.
    """
    config = model.network.config
    stored = getattr(config, "label_words", None) or {}
    same = all(stored.get(name) == label_words[name] for name in ("ids", "content_free"))
    prior = stored["prior"] if same else _measured(model, label_words)
    config.label_words = {**label_words, "prior": prior}
    return LabelWordHead(label_words["ids"], prior)


def _measured(model: Any, label_words: Mapping[str, Any]) -> list[float]:
    """Return the log of each label's mean probability over the texts without content; zeros without such texts."""
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
    """Return the README.md of a checkpoint with label words, for programs other than lm-gym."""
    return _HEADER + usage(network)


def usage(network: Any) -> str:
    """Return Markdown that shows how to use a checkpoint with label words in transformers."""
    template, labels = network.config.label_words["template"], network.config.id2label.values()
    masked = "{mask}" in template
    names = [name for name in ("text", "second") if f"{{{name}}}" in template]
    return _USAGE.format(
        labels=", ".join(labels),
        auto="AutoModelForMaskedLM" if masked else "AutoModelForCausalLM",
        texts=f"dict({', '.join(f'{name}={chr(34)}…{chr(34)}' for name in names)})",
        place="inputs.input_ids[0].tolist().index(tokenizer.mask_token_id)" if masked else "-1",
    )
