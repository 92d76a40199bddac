"""Evaluation of a population on texts: the rewards that the environment would pay each member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces.space import SearchSpace

Decided = tuple[NDArray[np.int64], NDArray[np.float32]]  # choices and gold log-probabilities, [K, N, T] each


@dataclass(frozen=True)
class Judged:
    """A population's fitness, and how its best members played.

    Attributes:
        fitness: float64 [P]; NaN where a member's probabilities are not finite.
        returns: float32 [N], what each text paid, mean over the members that read it.
        choices: int64 [N, T], on each text those of the best member that read it.
        log_probs: float32 [N, T], of the gold choices under that member.
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
    space: SearchSpace,
    population: Population,
    obs: TensorObservation,
    texts: TextEnvironments,
    max_rows: int,
    groups: int = 1,
) -> Judged:
    """Evaluates the members on the current texts, each by its most probable choices.

    Fitness is the mean reward of a position where positions pay for themselves, of a text elsewhere. Where members
    read texts of their own, a member's rewards are divided by the mean number of positions that a group decides, so
    that each position counts the same whichever text it is in.

    Args:
        space: evaluates them.
        population: P members, those of a unit side by side.
        obs: the texts' observation.
        texts: the environments behind it.
        max_rows: texts (times members) in one forward.
        groups: G: P/G members read the same N/G texts; see `Reading`.
    """
    reading, targets = Reading(obs, population.size, groups), texts.targets
    counted = sum(reading.counts) if texts.first.reward.separable else len(targets)
    fitness = np.full((groups, reading.sharing), np.nan)
    returns = np.zeros(len(targets))
    choices, log_probs = np.zeros_like(targets), np.zeros(targets.shape, np.float32)
    best = np.full(groups, -np.inf)
    for samples, (chosen, gold) in _decisions(space, population, reading, targets, max_rows):  # [K, N, T]
        failed = ~np.isfinite(gold.reshape(len(gold), groups, -1)).all(2)  # [K, G]: weights that overflow
        gold = np.where(failed.repeat(reading.texts, 1)[..., None], np.float32(0), gold)
        paid = texts.position_rewards(*_given(texts, chosen, gold)).astype(np.float64)
        earned = paid.reshape(len(paid), groups, -1).sum(2)  # [K, G]
        fitness[:, samples] = np.where(failed, np.nan, earned / (counted / groups)).T
        returns += paid.sum((0, 2)) / reading.sharing
        here = np.where(failed, -np.inf, earned)
        first, better = here.argmax(0), here.max(0) > best
        best = np.maximum(best, here.max(0))
        rows = better.repeat(reading.texts).nonzero()[0]
        choices[rows] = chosen[first.repeat(reading.texts)[rows], rows]
        log_probs[rows] = gold[first.repeat(reading.texts)[rows], rows]
    return Judged(th.as_tensor(fitness.flatten()), returns.astype(np.float32), choices, log_probs)


def within_groups(fitness: th.Tensor, groups: int) -> th.Tensor:
    """Fitness relative to that of the members that read the same texts, around the mean of all.

    F_i − (mean of its group) + (mean of all), so that members are compared by what they do and not by how hard their
    texts are. NaN stays NaN and is left out of the means.

    Args:
        fitness: float64 [P], group after group.
        groups: G.
    """
    if groups == 1:
        return fitness
    by_group = fitness.view(groups, -1)
    return (by_group - by_group.nanmean(1, keepdim=True)).flatten() + fitness.nanmean()


def _decisions(
    space: SearchSpace, population: Population, reading: Reading, targets: NDArray[np.int64], max_rows: int
) -> Iterator[tuple[slice, Decided]]:
    """The most probable choices, and the log-probabilities of the gold ones, as [K, N, T] arrays.

    Yields:
        which members of each group, their decisions on the group's texts: of all K = P/G members of every group, or of
        a few at a time where there is one group.
    """
    whole = reading.groups > 1
    decided = _nothing(reading.sharing, targets) if whole else None
    for members, said in space.evaluate(reading.obs, population, max_rows, reading.groups):
        at = reading.positions(members)
        member, row, slot = (index.cpu().numpy() for index in at)
        sample = (member + members.start) % reading.sharing if whole else member
        choices, gold = decided or _nothing(members.stop - members.start, targets)
        flat = said.reshape(-1, said.shape[-1])
        right = th.as_tensor(targets[row, slot], device=flat.device)
        choices[sample, row, slot] = flat.argmax(-1).cpu().numpy()
        gold[sample, row, slot] = flat.gather(-1, right[:, None]).squeeze(-1).float().cpu().numpy()
        if not whole:
            yield members, (choices, gold)
    if decided is not None:
        yield slice(0, reading.sharing), decided


def _nothing(samples: int, targets: NDArray[np.int64]) -> Decided:
    """Room for the decisions of so many members on all texts."""
    return np.zeros((samples, *targets.shape), np.int64), np.zeros((samples, *targets.shape), np.float32)


def _given(
    texts: TextEnvironments, choices: NDArray[np.int64], log_probs: NDArray[np.float32]
) -> tuple[NDArray[Any], ...]:
    """Arguments of position_rewards: log-probabilities go along where the environment takes distributions."""
    return (choices, log_probs) if texts.first.settings.actions == "distribution" else (choices,)
