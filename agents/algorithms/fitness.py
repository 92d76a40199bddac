"""Evaluation of a population on texts: the rewards that the environment would pay each member."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.text_encoder import TensorObservation
from lm_gym.agents.search.population.population import Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces.space import Evaluate, SearchSpace


@dataclass(frozen=True)
class Judged:
    """A population's fitness, and the choices of its best members.

    Attributes:
        fitness: float64 [P]; NaN if a member's probabilities are not finite.
        returns: float32 [N], the return of each text, averaged over the members that read it.
        choices: int64 [N, T], the choices on each text of the best member that read it.
        log_probs: float32 [N, T], log-probabilities of the gold choices under that member.
    """

    fitness: th.Tensor
    returns: NDArray[np.float32]
    choices: NDArray[np.int64]
    log_probs: NDArray[np.float32]

    def infos(self, texts: TextEnvironments) -> list[dict[str, Any]]:
        """Return the infos that a step would give for each text: the best member's rewards and the mean return."""
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


@dataclass(frozen=True)
class Part:
    """The rewards of some members on the texts that they read: n texts with A positions, in g groups.

    Attributes:
        start: index of the first member.
        fitness: float64 [p]; NaN if a member's probabilities are not finite.
        returns: float64 [n], the return of each text, summed over these members and divided by the number of all
            members that read it.
        best: float64 [g], the fitness of the best of these members in each group; -inf if all of them failed.
        choices: int32 [A], the choices of that member.
        log_probs: float32 [A], log-probabilities of the gold choices under that member.
    """

    start: int
    fitness: NDArray[np.float64]
    returns: NDArray[np.float64]
    best: NDArray[np.float64]
    choices: NDArray[np.int32]
    log_probs: NDArray[np.float32]


class PopulationFitness:
    """The fitness of a population on the current texts, where each member takes its most probable choices.

    Fitness is computed in chunks of members that depend only on the sizes. Any process with the same weights and texts
    can compute a chunk, and the result is the same, bit for bit.

    Fitness is the mean reward per position if the reward is separable, else per text. If members read different texts,
    a member's rewards are divided by the mean number of positions that a group decides, so that each position has the
    same weight in every text.

    Args:
        space: the search space, which evaluates the members.
        population: P members, with those of a unit side by side.
        obs: the observation of the texts.
        texts: the environments of the texts.
        max_rows: maximum number of texts (times members) in one forward pass.
        groups: G: P/G members read the same N/G texts; see `Reading`.

    Attributes:
        texts: the environments.
        reading: the texts that each member reads.
        chunks: the members of each chunk.
    """

    def __init__(
        self,
        space: SearchSpace,
        population: Population,
        obs: TensorObservation,
        texts: TextEnvironments,
        max_rows: int,
        groups: int = 1,
    ) -> None:
        self.reading = Reading(obs, population.size, groups)
        self.chunks = self.reading.chunks(max_rows)
        self.texts, self._targets = texts, texts.targets
        self._space, self._population = space, population
        self._asked = obs["position_mask"].bool().cpu().numpy()  # [N, T]
        self._counted = int(self._asked.sum()) if texts.first.reward.separable else len(self._targets)
        self._run: Evaluate | None = None

    def part(self, chunk: int) -> Part:
        """Evaluate the members of a chunk."""
        members, reading = self.chunks[chunk], self.reading
        rows = reading.text_slice(members)
        first, groups = rows.start // reading.texts, (rows.stop - rows.start) // reading.texts
        chosen, gold, played = self._decide(members)  # [K, N, T] each, and [K, G]
        failed = played & ~np.isfinite(gold.reshape(len(gold), reading.groups, -1)).all(2)  # weights that overflow
        gold = np.where(failed.repeat(reading.texts, 1)[..., None], np.float32(0), gold)
        paid = self.texts.position_rewards(*_given(self.texts, chosen, gold)).astype(np.float64)
        paid *= played.repeat(reading.texts, 1)[..., None]
        earned = paid.reshape(len(paid), reading.groups, -1).sum(2)  # [K, G]
        sample, group = self._places(np.arange(members.start, members.stop), members)
        fitness = np.where(failed, np.nan, earned / (self._counted / reading.groups))[sample, group]
        ranked = np.where(failed | ~played, -np.inf, earned)[:, first : first + groups]  # [K, g]
        best = ranked.argmax(0).repeat(reading.texts)  # [n]
        asked, here = self._asked[rows], np.arange(rows.start, rows.stop)
        return Part(
            start=members.start,
            fitness=fitness,
            returns=paid[:, rows].sum((0, 2)) / reading.sharing,
            best=ranked.max(0),
            choices=chosen[best, here][asked].astype(np.int32),
            log_probs=gold[best, here][asked],
        )

    def total(self, parts: Iterable[Part]) -> Judged:
        """Combine the parts of all chunks, given in their order."""
        reading = self.reading
        fitness, returns = np.full(reading.members, np.nan), np.zeros(len(self._targets))
        choices, log_probs = np.zeros_like(self._targets), np.zeros(self._targets.shape, np.float32)
        best = np.full(reading.groups, -np.inf)
        for part in parts:
            members = slice(part.start, part.start + len(part.fitness))
            texts = reading.text_slice(members)
            groups = slice(texts.start // reading.texts, texts.stop // reading.texts)
            fitness[members] = part.fitness
            returns[texts] += part.returns
            better = (part.best > best[groups]).repeat(reading.texts)
            best[groups] = np.maximum(best[groups], part.best)
            asked = self._asked[texts]
            taken = better[:, None] & asked  # [n, T]
            choices[texts][taken] = part.choices[taken[asked]]
            log_probs[texts][taken] = part.log_probs[taken[asked]]
        return Judged(th.as_tensor(fitness), returns.astype(np.float32), choices, log_probs)

    def _decide(self, members: slice) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return the most probable choices, log-probabilities of the gold choices [K, N, T], and who played [K, G].

        K is the number of members of a group. Each member of the chunk has its own place in [K, G] (`_places`).
        """
        if self._run is None:
            self._run = self._space.prepare(self.reading, self._population)
        samples = min(self.reading.sharing, members.stop - members.start)
        choices = np.zeros((samples, *self._targets.shape), np.int64)
        gold = np.zeros(choices.shape, np.float32)
        played = np.zeros((samples, self.reading.groups), np.bool_)
        for some, said in self._run(members):
            number, row, slot = self._positions(some)
            sample, _ = self._places(number + some.start, members)
            flat = said.reshape(-1, said.shape[-1])
            right = th.as_tensor(self._targets[row, slot], device=flat.device)
            given = flat.gather(-1, right[:, None]).squeeze(-1)
            decided = th.stack([flat.argmax(-1).double(), given.double()]).cpu().numpy()  # the only synchronisation
            choices[sample, row, slot], gold[sample, row, slot] = decided
            played[self._places(np.arange(some.start, some.stop), members)] = True
        return choices, gold, played

    def _positions(self, members: slice) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return `Reading.positions` of these members, computed on the host."""
        texts = self.reading.texts
        group = np.arange(members.start, members.stop) // self.reading.sharing
        rows = (group[:, None] * texts + np.arange(texts)).ravel()
        row, slot = self._asked[rows].nonzero()
        return row // texts, rows[row], slot

    def _places(self, numbers: NDArray[np.int64], members: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the sample (0 … K-1) and group of each member of a chunk; members of a group are consecutive."""
        samples = min(self.reading.sharing, members.stop - members.start)
        return (numbers - members.start) % samples, numbers // self.reading.sharing


def within_groups(fitness: th.Tensor, groups: int) -> th.Tensor:
    """Return fitness relative to the members that read the same texts, around the mean of all members.

    This is F_i − (mean of its group) + (mean of all), so that comparisons of members do not depend on the difficulty of
    their texts. NaN stays NaN and is left out of the means.

    Args:
        fitness: float64 [P], group after group.
        groups: G.
    """
    if groups == 1:
        return fitness
    by_group = fitness.view(groups, -1)
    return (by_group - by_group.nanmean(1, keepdim=True)).flatten() + fitness.nanmean()


def _given(
    texts: TextEnvironments, choices: NDArray[np.int64], log_probs: NDArray[np.float32]
) -> tuple[NDArray[Any], ...]:
    """Return the arguments of position_rewards, including log-probabilities if actions are distributions."""
    return (choices, log_probs) if texts.first.settings.actions == "distribution" else (choices,)
