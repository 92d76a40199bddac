"""Prompts behind the texts of a causal model, whose states do not depend on them and are computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch as th

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.reading import Reading


def read_behind(
    policy: LMPolicy, reading: Reading, prompts: Callable[[slice], th.Tensor]
) -> Callable[[slice], th.Tensor]:
    """Encode the texts once; return a function that computes members' log-probabilities from their prompts alone.

    A member costs only the k tokens of its prompt, which attend to the keys and values of the text.

    Args:
        policy: a causal model.
        reading: the texts that each member reads.
        prompts: the prompts of some members, embeddings [p, k, H] or token ids int64 [p, k].
    """
    obs, encoder = reading.obs, policy.network.base_model
    length = int(obs["attention_mask"].sum(1).max())
    mask = obs["attention_mask"][:, :length].long()
    texts = encoder(
        input_ids=obs["input_ids"][:, :length].long(), attention_mask=mask, use_cache=True, return_dict=True
    )
    states, lengths = texts[0], mask.sum(1)  # [B, L, H], [B]

    def evaluate(chunk: slice) -> th.Tensor:
        rows, values = reading.rows(chunk), prompts(chunk)
        if not values.is_floating_point():
            values = policy.network.get_input_embeddings()(values)
        values = values.repeat_interleave(reading.texts, 0).to(states.dtype)  # [p·k, tokens, H]
        places = th.arange(values.shape[1], device=rows.device)
        read = encoder(
            inputs_embeds=values,
            attention_mask=th.cat([mask[rows], mask.new_ones(values.shape[:2])], 1),
            position_ids=lengths[rows, None] + places,
            past_key_values=_of_rows(texts.past_key_values, rows),
            use_cache=True,
            return_dict=True,
        )
        member, text, slot = reading.positions(chunk)
        column = obs["positions"].long()[text, slot]
        behind = read[0][member * reading.texts + text % reading.texts, -1]  # [A, H], at the prompt's last token
        hidden = th.where((column == lengths[text] - 1)[:, None], behind, states[text, column])
        return reading.shaped(policy.log_probs(hidden, text, obs), chunk)

    return evaluate


def _of_rows(cache: Any, rows: th.Tensor) -> Any:
    """Return a copy of a cache of keys and values with these rows of texts."""
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    own.batch_select_indices(rows)  # assigns new tensors to each layer
    return own
