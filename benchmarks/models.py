"""The algorithms and search spaces that each architecture supports: the tables of docs/models.md.

    python benchmarks/models.py [--only bert gpt2 …] [--page docs/models.md]

Each architecture is a small checkpoint with random weights and the tokenizer of `tiny`. On named entities and on masked
words (the builtin data) every algorithm makes one update and every search space one generation; then the policy is
saved, and `transformers.pipeline` must predict what the policy predicts. A cell is "yes", or the number of the error.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import torch as th
import transformers
from transformers import AutoConfig, pipeline
from transformers.utils import logging

import lm_gym  # noqa: F401
from lm_gym.agents import PPO, REINFORCE, SEARCH_SPACES, BlackBox, Supervised
from lm_gym.agents.files import write_text
from lm_gym.agents.model.loading import load_model
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.tokenizer import save_tokenizer, tokenizer_size

SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 160,
    "initializer_range": 0.2,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "distilbert": {},
    "roberta": {},
    "xlm-roberta": {},
    "camembert": {},
    "ernie": {},
    "megatron-bert": {},
    "albert": {"embedding_size": 64},
    "electra": {"embedding_size": 64},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    "mpnet": {},
    "modernbert": {},
    "roformer": {"embedding_size": 64},
    "rembert": {"input_embedding_size": 64, "output_embedding_size": 64},
    "convbert": {"embedding_size": 64},
    "mobilebert": {"embedding_size": 64, "intra_bottleneck_size": 64, "true_hidden_size": 64},
    "squeezebert": {"embedding_size": 64},
    "fnet": {},
    "funnel": {"d_model": 64, "n_head": 4, "d_head": 16, "d_inner": 96, "block_sizes": [1, 1], "num_decoder_layers": 1},
    "layoutlm": {},
    "nystromformer": {"segment_means_seq_len": 64},
    "big_bird": {"attention_type": "original_full"},
    "longformer": {"attention_window": 16},
    "xlm": {"emb_dim": 64, "n_layers": 2, "n_heads": 4, "pad_index": 0},
    "xlm-roberta-xl": {},
    "data2vec-text": {},
    "eurobert": {"num_key_value_heads": 4},
}
CAUSAL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4},
    "gpt_neox": {},
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "gemma": {"num_key_value_heads": 2, "head_dim": 16},
    "phi": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 2},
}
TASKS = {"lm_gym/NER-v0": "labels", "lm_gym/MaskedLM-v0": "vocabulary"}
PAGE = """# Models

`python benchmarks/models.py --page docs/models.md`

Any Hugging Face masked LM or token classifier whose head can run without its encoder is a policy. The tables were made
with small random checkpoints of {count} architectures and transformers {version}. Every algorithm made one update, and
every search space one generation. `pipeline` tells whether `transformers.pipeline` with the saved policy makes the same
predictions as the policy. A number refers to the error or the note below the table.

{tables}
"""


def checkpoint(architecture: str, head: str, folder: Path) -> None:
    """Write a small checkpoint with random weights and the tokenizer of `tiny`."""
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    names = {**ENCODERS, **CAUSAL}[architecture]
    shared = {} if "block_sizes" in names else SIZES  # Funnel counts its layers otherwise
    sizes = {**shared, **special, **names, "vocab_size": tokenizer_size("tiny")}
    config = AutoConfig.for_model(architecture, **sizes)
    th.manual_seed(0)
    load_model(config.to_dict(), head, labels=["O"] if head == "labels" else None).save_pretrained(folder)
    save_tokenizer("tiny", folder)


def trials(env_id: str, model: str, saved: Path) -> dict[str, Callable[[], str | None]]:
    """Return the trials by the title of their column; a trial returns a note or None."""
    policy_kwargs = {"model": model}

    def env(**kwargs: Any) -> Any:
        return gymnasium.make_vec(env_id, num_envs=4, max_length=64, autoreset_mode="SameStep", **kwargs)

    def learn(algorithm: Any, **kwargs: Any) -> Callable[[], None]:
        def run() -> None:
            unit = "token" if algorithm is PPO else "sequence"
            made = algorithm("LMPolicy", env(unit=unit), policy_kwargs=policy_kwargs, seed=0, device="cpu", **kwargs)
            made.learn(1)
            if algorithm is Supervised:
                made.policy.save_pretrained(saved)

        return run

    def search(space: str) -> Callable[[], None]:
        def run() -> None:
            arguments = {"optimizer": "ga" if space.startswith(("discrete", "head_mask")) else "random_search"}
            made_env = env(unit="sequence", actions="distribution")
            made = BlackBox(
                "LMPolicy", made_env, search_space=space, optimizer_kwargs={"popsize": 4}, policy_kwargs=policy_kwargs,
                seed=0, device="cpu", **arguments,
            )  # fmt: skip
            made.learn(1)

        return run

    return {
        "supervised": learn(Supervised),
        "REINFORCE": learn(REINFORCE),
        "PPO": learn(PPO, n_steps=8, batch_size=16),
        "`pipeline`": lambda: compare(env_id, saved),
        **{f"`{name}`": search(name) for name in SEARCH_SPACES},
    }


def compare(env_id: str, saved: Path) -> str | None:
    """Compare `transformers.pipeline` with the policy on one text."""
    env = gymnasium.make_vec(env_id, num_envs=1, max_length=64, unit="sequence", tokenizer=str(saved))
    observation, _ = env.reset(seed=0)
    policy = LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0, model=str(saved))
    policy.set_training_mode(False)
    choices, _ = policy.predict(observation, deterministic=True)
    count = int(observation["position_mask"][0].sum())
    at = observation["positions"][0, :count]
    ids = observation["input_ids"][0, : int(observation["attention_mask"][0].sum())]
    task = {"labels": "token-classification", "vocabulary": "fill-mask"}[TASKS[env_id]]
    made = pipeline(task, str(saved), device="cpu")
    read = th.as_tensor(ids)[None]
    with th.no_grad():
        logits = made.model(input_ids=read, attention_mask=th.ones_like(read)).logits
    theirs = logits[0, at.tolist()].argmax(-1).numpy()
    same = float((theirs == choices[0, :count]).mean())
    return None if same == 1 else f"transformers predicts the same at {same:.0%} of the positions"


def attempt(trial: Callable[[], str | None]) -> str | None:
    """Return the error or the note of a trial in one line, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return trial()
        except (ValueError, TypeError, RuntimeError, KeyError, OSError, AttributeError, IndexError) as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def table(env_id: str, architectures: list[str]) -> str:
    """Try every architecture on one task."""
    rows: list[list[str]] = []
    notes: list[str] = []
    for architecture in architectures:
        with tempfile.TemporaryDirectory() as folder:
            told: dict[str, str | None] = {}
            made = Path(folder, architecture)
            broken = attempt(partial(checkpoint, architecture, TASKS[env_id], made))
            for name, trial in trials(env_id, str(made), Path(folder, "saved")).items():
                told[name] = broken or attempt(trial)
        cells = []
        for note in told.values():
            if note is not None:
                note = note.replace(folder, "FOLDER").replace(architecture + "/", "")
                if note not in notes:
                    notes.append(note)
            cells.append("yes" if note is None else str(1 + notes.index(note)))
        if not rows:
            rows += [["architecture", *told], ["---"] * (1 + len(told))]
        rows.append([f"`{architecture}`", *cells])
        print(env_id, rows[-1], flush=True)
    lines = [f"## {env_id}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join([*lines, *(f"{number}. {note}" for number, note in enumerate(notes, 1))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*ENCODERS, *CAUSAL])
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    th.set_num_threads(1)
    tables = [table(env_id, arguments.only) for env_id in TASKS]
    page = PAGE.format(count=len(arguments.only), version=transformers.__version__, tables="\n\n".join(tables))
    print(page)
    if arguments.page is not None:
        write_text(arguments.page, page)


if __name__ == "__main__":
    main()
