"""Playing a split once, in order: by a policy, or by a row that any policy must beat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.evaluation.stepping import play_steps
from lm_gym.agents.model.packed import Packed
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.envs import TextVectorEnv
from lm_gym.tasks import Batch, Evaluation, Prediction, Task

Predictor = Callable[[Batch], Prediction]


def evaluate(policy: LMPolicy | Predictor, env: TextVectorEnv, *, texts: int | None = None) -> Evaluation:
    """Plays every text of the environment's split once, with the most probable choice at each position.

    Positions that are drawn are those of visit 0, the same in every evaluation. The environment is left reset: give one
    that no agent is learning from.

    Args:
        policy: an LMPolicy (put into evaluation mode), or any predictor.
        env: a native vector environment, `unit="sequence"`; its rows are the batch.
        texts: play this many, evenly spaced, instead of all.
    """
    predict = lm_predictor(policy, env.task) if isinstance(policy, LMPolicy) else policy
    total = env.num_texts
    chosen = np.arange(total) if texts is None or texts >= total else np.linspace(0, total - 1, texts).astype(np.int64)
    counts = env.position_counts(chosen)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = {name: np.zeros(offsets[-1], np.int64) for name in ("choices", "targets", "places")}
    log_probs: NDArray[np.float32] | None = np.zeros(offsets[-1], np.float32)
    returns = np.zeros(len(chosen), np.float32)
    steps = None if env.at_once else np.zeros(len(chosen), np.int64)
    by_length = np.argsort(np.diff(env.task.encoded.offsets)[chosen], kind="stable")
    for start in range(0, len(chosen), env.num_envs):
        rows = by_length[start : start + env.num_envs]
        indices = np.resize(chosen[rows], env.num_envs)  # the last batch repeats itself to fill the rows
        obs, _ = env.reset(options={"indices": indices})
        used = slice(0, len(rows))
        mask = obs["position_mask"][used].astype(bool)
        slots = (offsets[rows, None] + np.arange(mask.shape[1]))[mask]
        if steps is None:
            said = predict(Batch(obs, env.text_index, env.targets))
            choices = np.where(obs["position_mask"].astype(bool), said.choices, 0)
            returns[rows] = position_rewards(env, choices, said.target_log_probs).sum(-1)[used]
        else:
            played = play_steps(predict, env)
            said, choices = played.prediction, played.prediction.choices
            returns[rows], steps[rows] = played.returns[used], played.steps[used]
        flat["choices"][slots] = choices[used][mask]
        flat["targets"][slots] = env.targets[used][mask]
        flat["places"][slots] = obs["positions"][used][mask]
        if said.target_log_probs is None or log_probs is None:
            log_probs = None
        else:
            log_probs[slots] = said.target_log_probs[used][mask]
    return Evaluation(env.task, chosen, offsets, **flat, target_log_probs=log_probs, returns=returns, steps=steps)


def baselines(env: TextVectorEnv) -> dict[str, dict[str, float]]:
    """Metrics of the rows that any agent must beat, by name: chance, and what the task adds."""
    return {row.name: evaluate(row.make(env.task), env).metrics for row in env.task.baselines}


def position_rewards(
    env: TextVectorEnv, choices: NDArray[np.int64], log_probs: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """What the texts played pay for choices, float32 [N, T].

    NaN if the reward needs probabilities that the predictor does not give.
    """
    if env.settings.actions == "token":
        return env.position_rewards(choices)
    if log_probs is None:
        return np.full(choices.shape, np.nan, np.float32)
    return env.position_rewards(choices, log_probs)


def read(policy: LMPolicy, obs: dict[str, NDArray[np.int64]]) -> Packed:
    """The policy at all positions of a batch, in evaluation mode and without a gradient."""
    policy.set_training_mode(False)
    tensors, _ = policy.obs_to_tensor(obs)
    assert isinstance(tensors, dict)
    with th.inference_mode():
        return policy.positions(tensors)


def most_probable(packed: Packed, targets: NDArray[np.int64], task: Task) -> Prediction:
    """The most probable choices at the positions of texts, the log-probabilities of their targets, and scores."""
    gold = packed.of_tokens().gather(1, packed.pick(targets)[:, None]).squeeze(1)
    rows, slots = packed.rows.cpu().numpy(), packed.slots.cpu().numpy()
    choices = np.zeros(targets.shape, np.int64)
    log_probs = np.zeros(targets.shape, np.float32)
    choices[rows, slots] = packed.most_probable().cpu().numpy()
    log_probs[rows, slots] = gold.cpu().numpy()
    sure = task.score(packed.log_probs.cpu().numpy())
    scores = None
    if sure is not None:
        scores = np.zeros(targets.shape)
        scores[rows, slots] = sure
    return Prediction(choices, log_probs, scores)


def lm_predictor(policy: LMPolicy, task: Task) -> Predictor:
    """The policy's most probable choices, what it gives the gold ones, and how sure it is where the task asks."""
    return lambda batch: most_probable(read(policy, batch.observation), batch.targets, task)
