"""Small random policies of every architecture, and a batch of texts for them."""

import numpy as np
import torch as th
from gymnasium import spaces
from transformers import AutoConfig

from lm_gym.agents.model.policy import LMPolicy

V, L, T, N, TAGS = 50, 12, 5, 3, ("O", "B-PER", "I-PER")
SMALL = {"vocab_size": V, "max_position_embeddings": 40}
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
ARCHITECTURES = {
    "bert": SIZES,
    "roberta": SIZES,
    "electra": {**SIZES, "embedding_size": 16},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
}
CAUSAL = {"n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0}
WIDE = {**SIZES, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
OTHERS = {  # parts that a batched forward pass may not support, and heads with other names
    "gpt2": CAUSAL,
    "albert": {**WIDE, "embedding_size": 16},  # one layer that is applied repeatedly
    "deberta-v2": {**WIDE, **RELATIVE},  # embeddings of distances, projected once for all texts
    "mpnet": WIDE,
    "layoutlm": WIDE,  # an unused pooler
    "funnel": {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "block_sizes": [1, 1], "num_decoder_layers": 1},
    "xlm": {"emb_dim": 16, "n_layers": 2, "n_heads": 2, "pad_index": 0},
    "modernbert": {**WIDE, "cls_token_id": 1, "sep_token_id": 2},
    "llama": WIDE,
    "gemma": {**WIDE, "num_key_value_heads": 1, "head_dim": 8},  # RMSNorm with the factor 1 + w, scaled embeddings
    "mixtral": {**WIDE, "num_key_value_heads": 1},  # a mixture of experts
}


def config(architecture="bert"):
    return AutoConfig.for_model(architecture, **SMALL, **{**OTHERS, **ARCHITECTURES}[architecture]).to_dict()


def make(n=V, unit="sequence", distribution=False, architecture="bert", vocabulary=V, **kwargs):
    leaves = {
        "input_ids": spaces.Box(0, vocabulary - 1, (L,), np.int64),
        "attention_mask": spaces.Box(0, 1, (L,), np.int8),
        "positions": spaces.Box(0, L - 1, (T,), np.int64),
        "position_mask": spaces.Box(0, 1, (T,), np.int8),
    }
    if unit == "token":
        leaves["cursor"] = spaces.Box(0, T - 1, (1,), np.int64)
    if distribution:
        action_space = spaces.Box(-1e3, 1e3, (n,) if unit == "token" else (T, n), np.float32)
    else:
        action_space = spaces.Discrete(n) if unit == "token" else spaces.MultiDiscrete([n] * T)
    kwargs.setdefault("model", config(architecture))
    kwargs.setdefault("dropout", 0.0)
    th.manual_seed(0)
    return LMPolicy(spaces.Dict(leaves), action_space, lambda _: 1e-3, **kwargs)


def observe(cursor=None):
    rng = np.random.default_rng(0)
    obs = {
        "input_ids": rng.integers(5, V, (N, L)),
        "attention_mask": (np.arange(L) < np.array([12, 7, 9])[:, None]).astype(np.int8),
        "positions": np.array([[1, 3, 5, 8, 10], [2, 4, 0, 0, 0], [1, 2, 3, 7, 0]]),
        "position_mask": (np.arange(T) < np.array([5, 2, 4])[:, None]).astype(np.int8),
    }
    if cursor is not None:
        obs["cursor"] = np.array(cursor)[:, None]
    return obs
