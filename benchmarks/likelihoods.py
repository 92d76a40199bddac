"""Bias and variance of estimates of a text's likelihood, against the exact policy gradient, on small puzzles.

A text with c masks that are filled from left to right has 4^c endings if only digits are allowed, so everything can be
enumerated: the exact gradient of the expected reward, and the expectation of each estimate over texts and masks. The
variance is that over all texts, each with one draw of masks.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents import LMPolicy
from lm_gym.agents.algorithms.text_likelihoods import Likelihood, MaskedPasses, passes, text_log_likelihood
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.envs import TextVectorEnv

KINDS: tuple[Likelihood, ...] = ("exact", "one_step", "elbo", "coupled")


def measure(policy: LMPolicy, env: TextVectorEnv, text: int, seed: int) -> dict[str, dict[str, float]]:
    """Return bias, angle and deviation of each estimate for one text.

    Args:
        policy: the policy.
        env: an environment of one row, with `mask_actions=True`, that pays at the end of a text.
        text: index of the text.
        seed: seed of the masks for the variance.

    Returns:
        For each estimate: `bias`, the norm of its expectation minus the exact gradient, in units of the norm of the
        exact gradient; `cosine` between the two; `deviation`, the root of the variance of one sample, in these units.
    """
    observation, _ = env.reset(options={"indices": [text]})
    endings, rewards = _endings(env, int(observation["position_mask"].sum()))
    obs, _ = policy.obs_to_tensor({name: np.repeat(leaf, len(endings), 0) for name, leaf in observation.items()})
    assert isinstance(obs, dict)
    policy.set_training_mode(False)
    one_by_one = _steps(obs["position_mask"].bool())
    tokens = th.as_tensor(endings)
    log_p = text_log_likelihood(policy, obs, tokens, one_by_one)
    p, R = log_p.detach().exp(), th.as_tensor(rewards)
    exact = _gradient(policy, (log_p.exp() * R).sum())
    advantage = R - (p * R).sum()  # the same baseline for all: the expected reward
    found = {}
    th.manual_seed(seed)
    for kind in KINDS:
        every = one_by_one if kind == "exact" else _all_masks(kind, obs["position_mask"].bool())
        mean = _gradient(policy, (p * advantage * text_log_likelihood(policy, obs, tokens, every)).sum())
        norms = [float(_sample(policy, obs, tokens, advantage, row, kind).square().sum()) for row in range(len(p))]
        variance = max(float((p * th.tensor(norms)).sum() - mean.square().sum()), 0.0)
        found[kind] = {
            "bias": float((mean - exact).norm() / exact.norm()),
            "cosine": float(mean @ exact / (mean.norm() * exact.norm())),
            "deviation": float(np.sqrt(variance) / exact.norm()),
        }
    return found


def _sample(
    policy: LMPolicy, obs: TensorObservation, tokens: th.Tensor, advantage: th.Tensor, row: int, kind: Likelihood
) -> th.Tensor:
    """Return the estimate from one text with one draw of masks, [d]."""
    one = {name: leaf[row : row + 1] for name, leaf in obs.items()}
    inside = one["position_mask"].bool()
    some = _steps(inside) if kind == "exact" else passes(kind, inside, 1)
    return _gradient(policy, (advantage[row] * text_log_likelihood(policy, one, tokens[row : row + 1], some)).sum())


def _gradient(policy: LMPolicy, value: th.Tensor) -> th.Tensor:
    """Return the gradient of a value with respect to the language model, [d]."""
    parameters = [p for p in policy.network.parameters() if p.requires_grad]
    grads = th.autograd.grad(value, parameters, allow_unused=True)
    return th.cat([(th.zeros_like(p) if g is None else g).flatten() for g, p in zip(grads, parameters, strict=True)])


def _endings(env: TextVectorEnv, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return all ways to fill the text of an environment with legal tokens, int64 [E, T], and their rewards, [E]."""
    legal = np.flatnonzero(env.task.always_legal)
    endings = np.zeros((len(legal) ** count, env.targets.shape[1]), np.int64)
    endings[:, :count] = list(product(legal.tolist(), repeat=count))
    return endings, env.position_rewards(endings[:, None]).sum((1, 2))


def _steps(inside: th.Tensor) -> MaskedPasses:
    """Return a pass for each step from left to right, which decides one position; their sum is the exact likelihood."""
    count = int(inside.sum(1).max())
    slots = th.arange(inside.shape[1])
    masked = th.stack([inside & (slots >= step) for step in range(count)])
    return MaskedPasses(masked, th.ones(count, len(inside)), th.stack([inside & (slots == s) for s in range(count)]))


def _all_masks(kind: Likelihood, inside: th.Tensor) -> MaskedPasses:
    """Return every set of masks, weighted by its probability, so that the sum is the expectation of an estimate."""
    if kind == "one_step":
        return passes(kind, inside, 1)
    count = int(inside[0].sum())
    sets = [chosen for chosen in product((False, True), repeat=count) if any(chosen)]
    masked = th.zeros(len(sets), *inside.shape, dtype=th.bool)
    masked[:, :, :count] = th.tensor(sets)[:, None]
    sizes = masked.sum(-1).float()  # m, [M, N]
    binomial = th.exp(th.lgamma(th.tensor(count + 1.0)) - th.lgamma(sizes + 1) - th.lgamma(count - sizes + 1))
    probability = 1 / (count * binomial)
    if kind == "elbo":
        return MaskedPasses(masked, probability * count / sizes)
    both = th.cat([masked, inside & ~masked, inside[None]])
    return MaskedPasses(both, th.cat([probability, probability, th.ones(1, len(inside))]) / 2)
