"""A small head that decides whether a position is filled now or waits."""

from __future__ import annotations

from pathlib import Path

import torch as th
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers.utils.hub import cached_file

from lm_gym.hub import hub_or_cache

_FILE = "wait.safetensors"
_HIDDEN = 32  # units of the hidden layer


class WaitHead(nn.Module):
    """Extend a policy over n tokens by the choice to wait.

    A position is filled with probability σ(w · x + v · tanh(U x + c) + b). Its features x are its hidden state, log max
    p and H(p) of the distribution p over tokens, and how far its log max p is below that of the most certain position
    of the text. If it is filled, the token is drawn from p. The head starts as a threshold on the largest probability:
    if this is 0.8, the position is filled with probability 1/2.

    A filled position whose token may be taken back is opened with probability σ(w' · y + b'), where y is its hidden
    state, the log-probability of its token and H(p), and keeps its token otherwise. This probability starts at 0.018.

    Args:
        width: width of the hidden states.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width + 3, 1)
        self.hidden = nn.Linear(width + 3, _HIDDEN)
        self.output = nn.Linear(_HIDDEN, 1, bias=False)
        self.reopen = nn.Linear(width + 2, 1)
        with th.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[0, width] = 4.0
            self.linear.bias.fill_(0.9)
            self.output.weight.zero_()
            self.reopen.weight.zero_()
            self.reopen.bias.fill_(-4.0)

    def forward(
        self,
        hidden: th.Tensor,
        log_probs: th.Tensor,
        tempered: th.Tensor,
        rows: th.Tensor,
        must_fill: th.Tensor | None,
        tokens: th.Tensor,
    ) -> th.Tensor:
        """Return log-probabilities of tokens and of waiting, float32 [Q, n + 1].

        Args:
            hidden: [Q, H].
            log_probs: log-probabilities of the tokens, [Q, n], for the features.
            tempered: log-probabilities of the tokens at the policy's temperature, [Q, n].
            rows: int64 [Q], the text of each position.
            must_fill: bool [Q], positions that may not wait; None if all may wait.
            tokens: int64 [Q], the token of each position; n where it is open.
        """
        n = log_probs.shape[-1]
        filled = tokens < n
        best = log_probs.amax(-1)
        entropy = -(log_probs.exp() * log_probs.clamp(min=-1e4)).sum(-1)
        texts = int(rows.max()) + 1 if len(rows) else 0
        surest = best.new_full((texts,), float("-inf")).scatter_reduce(
            0, rows, best.masked_fill(filled, float("-inf")), "amax"
        )[rows]
        gap = th.where(filled, 0.0, best - surest)
        features = th.cat([hidden.float(), best[:, None], entropy[:, None], gap[:, None]], -1)
        logit = (self.linear(features) + self.output(self.hidden(features).tanh())).squeeze(-1)
        fill, wait = functional.logsigmoid(logit), functional.logsigmoid(-logit)
        if must_fill is not None:
            fill, wait = fill.masked_fill(must_fill, 0.0), wait.masked_fill(must_fill, float("-inf"))
        said = th.cat([tempered + fill[:, None], wait[:, None]], -1)
        if not filled.any():
            return said
        own = log_probs.gather(1, tokens.clamp(max=n - 1)[:, None])
        logit = self.reopen(th.cat([hidden.float(), own.clamp(min=-1e4), entropy[:, None]], -1))
        kept = said.new_full(said.shape, float("-inf")).scatter(1, tokens[:, None], functional.logsigmoid(-logit))
        kept = th.cat([kept[:, :-1], functional.logsigmoid(logit)], -1)
        return th.where(filled[:, None], kept, said)


def save_wait_head(head: WaitHead, folder: str | Path) -> None:
    """Write wait.safetensors to the folder of a checkpoint."""
    save_file({name: values.contiguous() for name, values in head.state_dict().items()}, Path(folder) / _FILE)


def load_wait_head(width: int, source: str | None) -> WaitHead:
    """Load the head of a checkpoint, or create a new head if there is none.

    Args:
        width: width of the hidden states.
        source: folder or hub id of the checkpoint; None for a new head.
    """
    head = WaitHead(width)
    if source is None:
        return head
    with hub_or_cache(source):
        file = cached_file(source, _FILE, _raise_exceptions_for_missing_entries=False)
    if file is not None:
        head.load_state_dict(load_file(file))
    return head
