"""A population judged on the same texts: what the environment would pay each member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.spaces.space import SearchSpace

Indices = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Judged:
    """A population's fitness, and how its best member played.

    Attributes:
        fitness: float64 [P]; NaN where a member's probabilities are not finite.
        returns: float32 [N], what each text paid, mean over the members.
        choices: int64 [N, T], of the best member.
        log_probs: float32 [N, T], of the gold choices under the best member.
    """

    fitness: th.Tensor
    returns: NDArray[np.float32]
    choices: NDArray[np.int64]
    log_probs: NDArray[np.float32]

    def infos(self, texts: TextEnvironments) -> list[dict[str, Any]]:
        """What a step would have told of each text: the best member's rewards, the population's mean return."""
        env = texts.first
        played = _given(texts, self.choices[None], self.log_probs[None])
        counts = (texts.targets < env.task.shape.choices).sum(-1)
        infos: list[dict[str, Any]] = [
            {"position_rewards": paid, "episode": {"r": float(r), "l": int(n), "t": 0.0}}
            for paid, r, n in zip(texts.position_rewards(*played)[0], self.returns, counts, strict=True)
        ]
        if len(env.reward.term_names) > 1:
            terms = texts.reward_terms(*played)
            for row, info in enumerate(infos):
                info["reward_terms"] = {name: term[0, row] for name, term in terms.items()}
        return infos


def judge(
    space: SearchSpace, population: Population, obs: TensorObservation, texts: TextEnvironments, max_rows: int
) -> Judged:
    """Evaluates the members on the current texts, each by its most probable choices.

    Fitness is the mean reward of a position where positions pay for themselves, of a text elsewhere.

    Args:
        space: evaluates them.
        population: P members.
        obs: the texts' observation.
        texts: the environments behind it.
        max_rows: texts (times members) in one forward.
    """
    targets = texts.targets
    rows, slots = obs["position_mask"].bool().nonzero(as_tuple=True)
    at = rows.cpu().numpy(), slots.cpu().numpy()
    gold = th.as_tensor(targets[at], device=rows.device)
    counted = len(rows) if texts.first.reward.separable else len(targets)
    fitness = np.full(population.size, np.nan)
    returns = np.zeros(len(targets))
    choices, log_probs = np.zeros_like(targets), np.zeros(targets.shape, np.float32)
    best = -np.inf
    for members, said in space.evaluate(obs, population, max_rows):  # [p, Q, n]
        chosen, gold_log_probs = _decisions(said, gold, at, targets.shape)  # [p, N, T]
        failed = np.asarray(~np.isfinite(gold_log_probs).all((1, 2)))  # weights that overflow
        gold_log_probs[failed] = 0.0
        paid = texts.position_rewards(*_given(texts, chosen, gold_log_probs)).astype(np.float64)
        fitness[members] = np.where(failed, np.nan, paid.sum((1, 2)) / counted)
        returns += paid.sum((0, 2)) / population.size
        here = np.where(failed, -np.inf, paid.sum((1, 2)))
        if here.max() > best:
            best = here.max()
            choices, log_probs = chosen[here.argmax()], gold_log_probs[here.argmax()]
    return Judged(th.as_tensor(fitness), returns.astype(np.float32), choices, log_probs)


def _decisions(
    log_probs: th.Tensor, gold: th.Tensor, at: Indices, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The most probable choices and the gold log-probabilities of members' log-probs [p, Q, n], as [p, N, T] arrays."""
    p = len(log_probs)
    choices, gold_log_probs = np.zeros((p, *shape), np.int64), np.zeros((p, *shape), np.float32)
    choices[:, at[0], at[1]] = log_probs.argmax(-1).cpu().numpy()
    said = log_probs.gather(-1, gold.expand(p, -1)[..., None]).squeeze(-1)
    gold_log_probs[:, at[0], at[1]] = said.float().cpu().numpy()
    return choices, gold_log_probs


def _given(
    texts: TextEnvironments, choices: NDArray[np.int64], log_probs: NDArray[np.float32]
) -> tuple[NDArray[Any], ...]:
    """Arguments of position_rewards: log-probabilities go along where the environment takes distributions."""
    return (choices, log_probs) if texts.first.settings.actions == "distribution" else (choices,)
