"""Training a tagger with this package and with Hugging Face's Trainer: same model, texts, batch and thread.

    pip install accelerate
    python benchmarks/trainer.py --dataset CONLL_FOLDER --model MINILM_FOLDER [--texts 640] [--rounds 3]

Both fine-tune the whole model on the same sentences in batches of 32, with AdamW, in float32 and with bfloat16
autocast. Trainer follows the usual recipe for token classification: labels on first sub-tokens, batches padded to their
longest text. With N texts, `group_by_length` sorts groups of N/128 batches, at most 50, so give it many texts. Runs
alternate; a number is texts per CPU-second of `train` or `learn`, without loading. Ratios are of one round each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

BATCH, LENGTH = 32, 128
ORDERS = {"random": ("random", "shuffled"), "length": ("group_by_length", "bucketed")}  # Trainer's, the environment's


def of_trainer(dataset: Any, model: str, strategy: str, bf16: bool) -> Callable[[], float]:
    """Return a run of Hugging Face's Trainer; `strategy` is its order of texts."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    tokenizer, corpus = AutoTokenizer.from_pretrained(model), dataset["train"]
    number = {tag: i for i, tag in enumerate(corpus.tag_names)}

    def features(i: int) -> dict[str, Any]:
        encoded = tokenizer(corpus.text(i), is_split_into_words=True, truncation=True, max_length=LENGTH)
        words, tags = encoded.word_ids(), [number[tag] for tag in corpus.tags_of(i)]
        first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
        labels = [tags[word] if new else -100 for word, new in zip(words, first, strict=True)]
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "labels": labels}

    examples = [features(i) for i in range(len(corpus))]

    def run() -> float:
        labels = len(corpus.tag_names)
        network = AutoModelForTokenClassification.from_pretrained(model, num_labels=labels, dtype="float32")
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingArguments(
                folder,
                per_device_train_batch_size=BATCH,
                num_train_epochs=1,
                learning_rate=2e-4,
                train_sampling_strategy=strategy,
                bf16=bf16,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            collator = DataCollatorForTokenClassification(tokenizer)
            trainer: Any = Trainer(network, settings, collator, examples)  # type: ignore[arg-type]
            start = time.process_time()
            trainer.train()
            return len(examples) / (time.process_time() - start)

    return run


def of_twin(dataset: Any, model: str, sampling: str, autocast: bool) -> Callable[[], float]:
    """Return a run of the supervised agent; `sampling` is the environment's order of texts."""
    import gymnasium

    from lm_gym.agents import Supervised

    texts: dict[str, Any] = {"dataset": dataset, "tokenizer": model, "max_length": LENGTH, "sampling": sampling}
    env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=BATCH, unit="sequence", autoreset_mode="SameStep", **texts)  # type: ignore[arg-type]

    def run() -> float:
        options: dict[str, Any] = {"policy_kwargs": {"model": model}, "device": "cpu", "seed": 0}
        agent = Supervised("LMPolicy", env, 2e-4, autocast=autocast, **options)
        start = time.process_time()
        agent.learn(agent.timesteps_per_pass, log_interval=None)
        return agent.forward_passes / (time.process_time() - start)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    given = parser.parse_args()
    import torch as th

    from lm_gym import load_dataset

    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    dataset, model = load_dataset(given.dataset, train_texts=given.texts), str(Path(given.model))
    runs: dict[tuple[str, str, str], Callable[[], float]] = {}
    for order in given.orders:
        theirs, ours = ORDERS[order]
        for precision, low in (("float32", False), ("bfloat16 autocast", True)):
            runs["Trainer", theirs, precision] = of_trainer(dataset, model, theirs, low)
            runs["this package", ours, precision] = of_twin(dataset, model, ours, low)
    speeds: dict[tuple[str, str, str], list[float]] = {key: [] for key in runs}
    for _ in range(given.rounds):
        for key, run in runs.items():
            speeds[key].append(run())
    print("| | order of texts | precision | texts per CPU-second | relative to the first row |")
    print("|---|---|---|---:|---:|")
    first = next(iter(speeds.values()))
    for (who, order, precision), found in speeds.items():
        ratios = [a / b for a, b in zip(found, first, strict=True)]
        span = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {who} | `{order}` | {precision} | {statistics.median(found):.1f} | {span} |")


if __name__ == "__main__":
    main()
