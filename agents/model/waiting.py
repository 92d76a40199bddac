"""A small head that decides whether a position is filled now or waits."""

from __future__ import annotations

from pathlib import Path

import torch as th
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers.utils.hub import cached_file

_FILE = "wait.safetensors"


class WaitHead(nn.Module):
    """Makes a policy over n tokens one over n tokens or to wait.

    A position is filled with probability σ(w · [h, log max p, H(p)] + b), h its hidden state, p the distribution over
    tokens; and if it is filled, then with a token drawn from p. The head begins as a threshold on the largest
    probability: it fills a position of probability 0.8 every second time.

    Args:
        width: of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width + 2, 1)
        with th.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[0, width] = 4.0
            self.linear.bias.fill_(0.9)

    def forward(self, hidden: th.Tensor, log_probs: th.Tensor, must_fill: th.Tensor | None) -> th.Tensor:
        """Log of the policy over tokens and waiting, float32 [Q, n + 1].

        Args:
            hidden: [Q, H].
            log_probs: log-probabilities of the tokens, [Q, n].
            must_fill: bool [Q], positions that may not wait; None: all may.
        """
        entropy = -(log_probs.exp() * log_probs.clamp(min=-1e4)).sum(-1)
        features = th.cat([hidden.float(), log_probs.amax(-1, keepdim=True), entropy[:, None]], -1)
        logit = self.linear(features).squeeze(-1)
        fill, wait = functional.logsigmoid(logit), functional.logsigmoid(-logit)
        if must_fill is not None:
            fill, wait = fill.masked_fill(must_fill, 0.0), wait.masked_fill(must_fill, float("-inf"))
        return th.cat([log_probs + fill[:, None], wait[:, None]], -1)


def save_wait_head(head: WaitHead, folder: str | Path) -> None:
    """Write wait.safetensors into a checkpoint's folder."""
    save_file({name: values.contiguous() for name, values in head.state_dict().items()}, Path(folder) / _FILE)


def load_wait_head(width: int, source: str | None) -> WaitHead:
    """The head beside a checkpoint, or a fresh one if there is none.

    Args:
        width: of the hidden states.
        source: folder or hub id of the checkpoint; None for a fresh head.
    """
    head = WaitHead(width)
    file = None if source is None else cached_file(source, _FILE, _raise_exceptions_for_missing_entries=False)
    if file is not None:
        head.load_state_dict(load_file(file))
    return head
