"""Evaluation of a policy or a baseline on every text of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.algorithms.text_environments import check_labels
from lm_gym.agents.evaluation.stepping import play_steps
from lm_gym.agents.model.packed import Packed
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.bounds import PositiveInt, check_value
from lm_gym.envs import TextVectorEnv
from lm_gym.envs.spaces import LOGIT_BOUND
from lm_gym.tasks import Batch, Evaluation, Prediction, Task

Predictor = Callable[[Batch], Prediction]


def evaluate(
    policy: LMPolicy | Predictor, env: TextVectorEnv, *, texts: int | Sequence[int] | NDArray[np.int64] | None = None
) -> Evaluation:
    """Evaluate a policy once on every text of the environment's split, with the most probable choice at each position.

    Random positions, such as masks, are the same in every evaluation. The environment is reset, so do not pass one
    that an agent is training in.

    Args:
        policy: an LMPolicy (set to evaluation mode), or any predictor.
        env: a native vector environment with `unit="sequence"`; its rows are the batch.
        texts: number of texts to play, evenly spaced, or their indices, ascending; by default all.

    Raises:
        ValueError: the environment decides one position at a time, has other labels than the policy, or lacks a text,
            or `texts` is 0 or less.
    """
    if isinstance(policy, LMPolicy):
        check_labels(policy.labels, policy.facts, env.task)
    predict = lm_predictor(policy, env.task) if isinstance(policy, LMPolicy) else policy
    chosen = _indices(env.num_texts, texts)
    counts = env.position_counts(chosen)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = {name: np.zeros(offsets[-1], np.int64) for name in ("choices", "targets", "places")}
    measured: dict[str, NDArray[np.float32]] = {
        name: np.zeros(offsets[-1], np.float32) for name in ("target_log_probs", "choice_log_probs", "target_ranks")
    }
    returns = np.zeros(len(chosen), np.float32)
    steps = None if env.at_once else np.zeros(len(chosen), np.int64)
    by_length = np.argsort(np.diff(env.task.encoded.offsets)[chosen], kind="stable")
    for start in range(0, len(chosen), env.num_envs):
        rows = by_length[start : start + env.num_envs]
        indices = np.resize(chosen[rows], env.num_envs)  # the last batch repeats texts to fill its rows
        obs, _ = env.reset(options={"indices": indices})
        if not env.at_once and "due" not in obs:
            raise ValueError("an evaluation decides whole texts: make the environment with unit='sequence'")
        used = slice(0, len(rows))
        mask = obs["position_mask"][used].astype(bool)
        slots = (offsets[rows, None] + np.arange(mask.shape[1]))[mask]
        if steps is None:
            said = predict(Batch(obs, env.text_index, env.targets, env.episodes.uniforms))
            choices = np.where(obs["position_mask"].astype(bool), said.choices, 0)
            returns[rows] = position_rewards(env, choices, said.target_log_probs).sum(-1)[used]
        else:
            played = play_steps(predict, env)
            said, choices = played.prediction, played.prediction.choices
            returns[rows], steps[rows] = played.returns[used], played.steps[used]
        flat["choices"][slots] = choices[used][mask]
        flat["targets"][slots] = env.targets[used][mask]
        flat["places"][slots] = obs["positions"][used][mask]
        for name in [*measured]:
            given = getattr(said, name)
            if given is None:
                del measured[name]  # for all texts or for none
            else:
                measured[name][slots] = given[used][mask]
    return Evaluation(
        env.task,
        chosen,
        offsets,
        **flat,
        target_log_probs=None if env.task.distinct else measured.get("target_log_probs"),  # may be taken
        choice_log_probs=measured.get("choice_log_probs"),
        returns=returns,
        steps=steps,
        target_ranks=measured.get("target_ranks"),
    )


def _indices(total: int, texts: int | Sequence[int] | NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the indices of the texts to play: all, a number of them, evenly spaced, or the given ones."""
    if texts is None or isinstance(texts, int | np.integer):
        check_value("texts", texts, PositiveInt | None)
        return np.arange(total) if texts is None or texts >= total else np.linspace(0, total - 1, texts, dtype=np.int64)
    chosen = np.asarray(texts, np.int64)
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < total:
        raise ValueError(f"texts has indices {chosen.min()} to {chosen.max()}, but the texts are 0 to {total - 1}")
    return chosen


def baselines(env: TextVectorEnv) -> dict[str, dict[str, float]]:
    """Return the metrics of the task's baselines by name, such as random choices."""
    return {row.name: evaluate(row.make(env.task), env).metrics for row in env.task.baselines}


def position_rewards(
    env: TextVectorEnv, choices: NDArray[np.int64], log_probs: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return the rewards of choices in the current texts, float32 [N, T].

    NaN if the reward needs probabilities that the predictor does not give.
    """
    if env.settings.actions == "token":
        return env.position_rewards(choices)
    if log_probs is None:
        return np.full(choices.shape, np.nan, np.float32)
    return env.position_rewards(choices, log_probs)


def read(policy: LMPolicy, obs: dict[str, NDArray[np.int64]]) -> Packed:
    """Return the policy's output at all positions of a batch, in evaluation mode and without gradients."""
    policy.set_training_mode(False)
    tensors, _ = policy.obs_to_tensor(obs)
    assert isinstance(tensors, dict)
    with th.inference_mode():
        return policy.positions(tensors)


def decided(packed: Packed, batch: Batch, task: Task) -> Prediction:
    """Return the most probable choices [N, T], log-probabilities of targets and choices, and the task's scores.

    If the task draws choices, they are drawn by `batch.uniforms`.
    """
    targets = batch.targets
    gold = packed.of_tokens().gather(1, packed.pick(targets)[:, None]).squeeze(1).clamp(min=-LOGIT_BOUND)
    rows, slots = packed.rows.cpu().numpy(), packed.slots.cpu().numpy()
    host = packed.log_probs.cpu().numpy()
    if batch.uniforms is None:
        chosen = packed.most_probable()
    else:
        drawn = task.choose(host, batch.uniforms[rows, slots])
        chosen = th.as_tensor(drawn, device=packed.log_probs.device)
    best = packed.log_probs.gather(1, chosen[:, None]).squeeze(1)
    choices = np.zeros(targets.shape, np.int64)
    log_probs = np.zeros((2, *targets.shape), np.float32)
    choices[rows, slots] = chosen.cpu().numpy()
    log_probs[:, rows, slots] = th.stack([gold, best]).cpu().numpy()
    sure, scores = task.score(host, chosen.cpu().numpy()), None
    if sure is not None:
        scores = np.zeros(targets.shape)
        scores[rows, slots] = sure
    ranks = None
    if task.ranked:
        ranks = np.ones(targets.shape, np.int64)
        ranks[rows, slots] = 1 + (packed.of_tokens() > gold[:, None]).sum(1).cpu().numpy()
    return Prediction(choices, log_probs[0], log_probs[1], scores, ranks)


def lm_predictor(policy: LMPolicy, task: Task) -> Predictor:
    """Return a predictor of the policy's choices, with log-probabilities and the task's scores (see `decided`)."""
    return lambda batch: decided(read(policy, batch.observation), batch, task)
