"""Playing a whole split once, in order, and what comes out: metrics, predictions, reports; and the rows to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.model.packed import Packed
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.envs import TextVectorEnv
from lm_gym.metrics import (
    EntityReport,
    TokenReport,
    accuracy,
    cross_entropy,
    entity_report,
    perplexity,
    token_report,
)
from lm_gym.rendering import spell_around


class Prediction(NamedTuple):
    """What a predictor says of a batch.

    Attributes:
        choices: int64 [N, T]; anything where padded.
        target_log_probs: log P(gold choice), float32 [N, T], or None from a predictor without probabilities.
    """

    choices: NDArray[np.int64]
    target_log_probs: NDArray[np.float32] | None


Predictor = Callable[[dict[str, NDArray[Any]], TextVectorEnv], Prediction]


@dataclass(frozen=True)
class Evaluation:
    """One pass over the texts of a split.

    Attributes:
        env: the environment that was played (its dataset, split and task).
        texts: int64 [M], the texts played, ascending.
        offsets: int64 [M + 1], where each text's positions lie in the flat arrays below.
        choices: int64 [P], the choice made at each position.
        targets: int64 [P], the gold choice.
        places: int64 [P], index of each position in its text's sub-tokens.
        target_log_probs: float32 [P], log P(gold), or None.
        returns: float32 [M], the reward of each text; NaN where it asks for probabilities that there aren't.
    """

    env: TextVectorEnv
    texts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    choices: NDArray[np.int64]
    targets: NDArray[np.int64]
    places: NDArray[np.int64]
    target_log_probs: NDArray[np.float32] | None
    returns: NDArray[np.float32]

    @cached_property
    def metrics(self) -> dict[str, float]:
        """By name: entity_* and token_* (NER) or accuracy (masked LM); cross_entropy, perplexity; mean_reward."""
        found: dict[str, float] = {}
        if self.entity_report is not None and self.token_report is not None:
            found["entity_f1"] = self.entity_report.micro.f1
            found["entity_precision"] = self.entity_report.micro.precision
            found["entity_recall"] = self.entity_report.micro.recall
            found["token_accuracy"] = self.token_report.micro.f1  # every word has one tag
            found["token_macro_f1"] = self.token_report.macro.f1
        else:
            found["accuracy"] = accuracy(self.targets, self.choices)
        if self.target_log_probs is not None:
            found["cross_entropy"] = cross_entropy(self.target_log_probs)
            found["perplexity"] = perplexity(self.target_log_probs)
        if not np.isnan(self.returns).any():
            found["mean_reward"] = float(self.returns.mean(dtype=np.float64))
        return found

    @cached_property
    def entity_report(self) -> EntityReport | None:
        """Entity precision, recall and F1 by type (conlleval), words cut by max_length counted as predicted O."""
        if self._tags is None:
            return None
        gold, predicted, offsets = self._tags
        return entity_report(gold, predicted, self.env.dataset.tag_names, offsets)

    @cached_property
    def token_report(self) -> TokenReport | None:
        """Precision, recall and F1 by tag, O included; not entity F1."""
        if self._tags is None:
            return None
        gold, predicted, _ = self._tags
        return token_report(gold, predicted, self.env.dataset.tag_names)

    @cached_property
    def _tags(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
        """Gold and predicted tags of every word of the texts played, flat, and where each text begins."""
        corpus = self.env.dataset[self.env.split]
        if self.env.task.choice_names is None or corpus.tags is None:
            return None
        lengths = np.diff(corpus.offsets)[self.texts]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        kept = np.diff(self.offsets)
        words = np.repeat(offsets[:-1], kept) + np.arange(len(self.choices)) - np.repeat(self.offsets[:-1], kept)
        predicted = np.zeros(offsets[-1], np.int64)  # O where max_length cut the word off
        predicted[words] = self.choices
        starts = np.repeat(corpus.offsets[self.texts] - offsets[:-1], lengths)
        gold = corpus.tags[starts + np.arange(offsets[-1])].astype(np.int64)
        return gold, predicted, offsets

    def tagged_texts(self) -> Iterator[list[tuple[str, str, str]]]:
        """NER: (word, gold tag, predicted tag) of every word, text by text."""
        assert self._tags is not None, "only NER has tags"
        gold, predicted, offsets = self._tags
        corpus, names = self.env.dataset[self.env.split], self.env.dataset.tag_names
        for i, text in enumerate(self.texts):
            span = slice(offsets[i], offsets[i + 1])
            tags = zip(gold[span], predicted[span], strict=True)
            yield [(word, names[g], names[p]) for word, (g, p) in zip(corpus.text(int(text)), tags, strict=True)]

    def filled_texts(self) -> Iterator[dict[str, Any]]:
        """Masked LM: the text with its masks open, and gold and predicted token at each of them."""
        tokenizer, encoded = self.env.task.tokenizer, self.env.task.encoded
        for i, text in enumerate(self.texts):
            span = slice(self.offsets[i], self.offsets[i + 1])
            ids = encoded.ids[encoded.offsets[text] : encoded.offsets[text + 1]].astype(np.int64)
            ids[self.places[span]] = tokenizer.require_mask()
            yield {
                "text": tokenizer.decode(ids[len(tokenizer.prefix) : len(ids) - len(tokenizer.suffix)].tolist()),
                "gold": [tokenizer.decode([t]) for t in self.targets[span].tolist()],
                "predicted": [tokenizer.decode([c]) for c in self.choices[span].tolist()],
            }

    def masked_texts(self) -> Iterator[list[tuple[str, str | None, bool]]]:
        """Masked LM: (part, token filled in or None, whether it is right) text by text; masks show the gold token."""
        tokenizer, encoded = self.env.task.tokenizer, self.env.task.encoded
        for i, text in enumerate(self.texts):
            span = slice(self.offsets[i], self.offsets[i + 1])
            ids = encoded.ids[encoded.offsets[text] : encoded.offsets[text + 1]].tolist()
            choices, right = self.choices[span].tolist(), (self.choices == self.targets)[span].tolist()
            parts = spell_around(tokenizer, ids, self.places[span].tolist())
            yield [
                (" " * spaced + part, None if k is None else tokenizer.decode([choices[k]]), k is None or right[k])
                for spaced, part, k in parts
            ]


def known_metrics(*, tagging: bool) -> list[str]:
    """Names of the metrics that may choose the best model, the task's own first."""
    tags = ["entity_f1", "entity_precision", "entity_recall", "token_accuracy", "token_macro_f1"]
    return [*(tags if tagging else ["accuracy"]), "cross_entropy", "perplexity", "mean_reward"]


def evaluate(policy: LMPolicy | Predictor, env: TextVectorEnv, *, texts: int | None = None) -> Evaluation:
    """Plays every text of the environment's split once, with the most probable choice at each position.

    Masked positions are those of visit 0, the same in every evaluation. The environment is left reset: give one that
    no agent is learning from.

    Args:
        policy: an LMPolicy (put into evaluation mode), or any predictor.
        env: a native vector environment, `unit="sequence"`; its rows are the batch.
        texts: play this many, evenly spaced, instead of all.
    """
    predict = lm_predictor(policy) if isinstance(policy, LMPolicy) else policy
    total = env.num_texts
    chosen = np.arange(total) if texts is None or texts >= total else np.linspace(0, total - 1, texts).astype(np.int64)
    counts = env.task.encoded.counts[chosen].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = {name: np.zeros(offsets[-1], np.int64) for name in ("choices", "targets", "places")}
    log_probs: NDArray[np.float32] | None = np.zeros(offsets[-1], np.float32)
    returns = np.zeros(len(chosen), np.float32)
    by_length = np.argsort(np.diff(env.task.encoded.offsets)[chosen], kind="stable")
    for start in range(0, len(chosen), env.num_envs):
        rows = by_length[start : start + env.num_envs]
        indices = np.resize(chosen[rows], env.num_envs)  # the last batch repeats itself to fill the rows
        obs, _ = env.reset(options={"indices": indices})
        said = predict(obs, env)
        used = slice(0, len(rows))
        mask = obs["position_mask"][used].astype(bool)
        slots = (offsets[rows, None] + np.arange(mask.shape[1]))[mask]
        choices = np.where(obs["position_mask"].astype(bool), said.choices, 0)
        returns[rows] = position_rewards(env, choices, said.target_log_probs).sum(-1)[used]
        flat["choices"][slots] = choices[used][mask]
        flat["targets"][slots] = env.targets[used][mask]
        flat["places"][slots] = obs["positions"][used][mask]
        if said.target_log_probs is None or log_probs is None:
            log_probs = None
        else:
            log_probs[slots] = said.target_log_probs[used][mask]
    return Evaluation(env, chosen, offsets, **flat, target_log_probs=log_probs, returns=returns)


def position_rewards(
    env: TextVectorEnv, choices: NDArray[np.int64], log_probs: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """What the texts played pay for choices, float32 [N, T]; NaN where that asks for probabilities there aren't."""
    if env.settings.actions == "token":
        return env.position_rewards(choices)
    if log_probs is None:
        return np.full(choices.shape, np.nan, np.float32)
    return env.position_rewards(choices, log_probs)


def read(policy: LMPolicy, obs: dict[str, NDArray[Any]]) -> Packed:
    """The policy at all positions of a batch, in evaluation mode and without a gradient."""
    policy.set_training_mode(False)
    tensors, _ = policy.obs_to_tensor(obs)
    assert isinstance(tensors, dict)
    with th.inference_mode():
        return policy.positions(tensors)


def most_probable(packed: Packed, env: TextVectorEnv) -> Prediction:
    """The most probable choices at the positions of the texts played, and what the gold ones are given."""
    targets = packed.pick(env.targets)
    gold = packed.log_probs.gather(1, targets[:, None]).squeeze(1)
    rows, slots = packed.rows.cpu().numpy(), packed.slots.cpu().numpy()
    choices = np.zeros(env.targets.shape, np.int64)
    log_probs = np.zeros(env.targets.shape, np.float32)
    choices[rows, slots] = packed.log_probs.argmax(-1).cpu().numpy()
    log_probs[rows, slots] = gold.cpu().numpy()
    return Prediction(choices, log_probs)


def lm_predictor(policy: LMPolicy) -> Predictor:
    """The policy's most probable choices, and what it gives the gold ones."""
    return lambda obs, env: most_probable(read(policy, obs), env)


def random_predictor(seed: int = 0) -> Predictor:
    """Every choice with the same probability."""
    generator = np.random.default_rng(seed)

    def predict(obs: dict[str, NDArray[Any]], env: TextVectorEnv) -> Prediction:
        n, shape = env.task.shape.choices, env.targets.shape
        return Prediction(generator.integers(0, n, shape), np.full(shape, -np.log(n), np.float32))

    return predict


def majority_predictor(env: TextVectorEnv) -> Predictor:
    """NER: the tag each word has most often in train, O for unknown words. Masked LM: train's most frequent token."""
    if env.task.choice_names is None:
        counts = env.task.target_counts
        log_probs = np.log((counts + 1.0) / (counts + 1.0).sum())

        def unigram(obs: dict[str, NDArray[Any]], env: TextVectorEnv) -> Prediction:
            gold = log_probs[np.minimum(env.targets, len(counts) - 1)].astype(np.float32)
            return Prediction(np.full(env.targets.shape, counts.argmax()), gold)

        return unigram
    train, n = env.dataset["train"], env.task.shape.choices
    assert train.tags is not None
    pairs = train.words.astype(np.int64) * n + train.tags
    table = np.bincount(pairs, minlength=len(train.vocabulary) * n).reshape(-1, n).argmax(1)

    def majority(obs: dict[str, NDArray[Any]], env: TextVectorEnv) -> Prediction:
        corpus = env.dataset[env.split]
        places = corpus.offsets[env.text_index][:, None] + np.arange(env.targets.shape[1])
        return Prediction(table[corpus.words[np.minimum(places, len(corpus.words) - 1)]], None)

    return majority


def baselines(env: TextVectorEnv) -> dict[str, dict[str, float]]:
    """Metrics of the rows that any agent has to beat: `random`, and `majority` (the most frequent tag or token)."""
    return {
        "random": evaluate(random_predictor(), env).metrics,
        "majority": evaluate(majority_predictor(env), env).metrics,
    }
