"""What a black-box search changes in a policy, and how the members of a population are evaluated together."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch as th

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.forward import read_together
from lm_gym.agents.search.population.population import Block, Dense, Domain, Perturbed, Population
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.population.trial import find_fault, full_precision, trial_texts
from lm_gym.bounds import Bounded


class SearchSpace(Bounded, ABC):
    """A part of a policy as a vector. The space owns the vector's meaning, scale and type.

    Args:
        policy: what is searched: an LMPolicy; the spaces of parameters take any Stable-Baselines3 policy.
        options: of the space.

    Attributes:
        policy: the policy.
        domain: what a vector's entries are.
        blocks: the tensors behind a real vector, in order; empty where the vector is no list of parameters.
    """

    policy: Any
    domain: Domain
    blocks: tuple[Block, ...] = ()
    _batched: Mapping[bool, bool] = {}  # whether members share a forward, by whether they read apart; once it was tried

    def tensors(self) -> Sequence[th.Tensor]:
        """The live tensors behind `blocks`, for optimizers that move them in place, under `th.no_grad`."""
        raise TypeError(f"{type(self).__name__} has no parameters to move in place: take an optimizer of vectors")

    @abstractmethod
    def initial(self) -> th.Tensor:
        """The vector of the policy as it is when the space is made, [d]."""

    @abstractmethod
    def write(self, vector: th.Tensor) -> None:
        """Make the policy the one that `vector` [d] describes; stays until the next write."""

    def evaluate(
        self, obs: dict[str, th.Tensor], population: Population, max_rows: int, groups: int = 1
    ) -> Iterator[tuple[slice, th.Tensor]]:
        """What each member says at the positions of its texts, several members in one forward.

        The result equals each member written into the policy on its own, and `policy.positions(obs)`, to 1e-5. The
        policy's weights are as before afterwards; it is out of training mode (no dropout). No gradients. A model that
        cannot be batched (see `check_batching`) reads one member after another.

        Args:
            obs: the observation of B texts.
            population: P members.
            max_rows: texts in one forward, members times texts of each; at least one member is evaluated at a time.
            groups: G, which divides P and B: the first P/G members read the first B/G texts, and so on (`Reading`).
                1: all members read all texts.

        Yields:
            members, their log-probabilities: [p, Q, n], positions in the order of `policy.positions(obs)`; with more
            than one group [A, n], the positions of one member's texts after those of another's (`Reading.positions`).

        Raises:
            TypeError: a policy that is no LMPolicy.
            ValueError: groups that do not divide members and texts.
        """
        require_language_model(self.policy, "evaluate")
        if max_rows < 1:
            raise ValueError(f"max_rows={max_rows}: give 1 or more")
        reading = Reading(obs, population.size, groups)
        if (groups > 1) not in self._batched:
            self.check_batching(apart=groups > 1)
        self.policy.set_training_mode(False)
        together = self._together if self._batched[groups > 1] else self._one_by_one
        yield from together(reading, population, max_rows)

    def _together(self, reading: Reading, population: Population, max_rows: int) -> Iterator[tuple[slice, th.Tensor]]:
        with th.inference_mode():
            run = self._evaluator(reading, population)
        members = max(1, max_rows // reading.texts)
        if members > 1:
            members -= members % 2  # both members of an antithetic pair in the same forward
        for start in range(0, population.size, members):
            chunk = slice(start, min(start + members, population.size))
            with th.inference_mode():
                log_probs = run(chunk)
            yield chunk, log_probs

    def _one_by_one(self, reading: Reading, population: Population, max_rows: int) -> Iterator[tuple[slice, th.Tensor]]:
        for member in range(population.size):
            chunk = slice(member, member + 1)
            with self.materialised(population, member), th.inference_mode():
                log_probs = read_together(self.policy, reading, chunk)
            yield chunk, log_probs

    def check_batching(self, *, apart: bool = False) -> None:
        """Compare a few members in one forward with the same ones written into the policy; constructors end with it.

        Where they differ, or the batched forward fails, one warning names what cannot be batched, and `evaluate` reads
        one member after another. Other policies than an LMPolicy are not batched.

        Args:
            apart: members that each read texts of their own; tried when first asked for.
        """
        if not isinstance(self.policy, LMPolicy):
            return
        fault = self._fault(apart)
        self._batched = {**self._batched, apart: fault is None}
        if fault is not None:
            warnings.warn(
                f"{type(self).__name__} evaluates members one after another, slowly: {self._culprit()} cannot be "
                f"batched ({fault})",
                stacklevel=4,
            )

    def _fault(self, apart: bool = False) -> str | None:
        """What is wrong with the batched forward of this policy; None: nothing."""
        obs, training = trial_texts(self.policy), self.policy.training
        groups = len(obs["input_ids"]) if apart else 1
        population = self._trial(2 * groups)
        reading = Reading(obs, population.size, groups)
        self.policy.set_training_mode(False)
        try:
            with full_precision(self.policy):
                try:
                    alone = th.cat([said for _, said in self._one_by_one(reading, population, 1)])
                except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                    raise ValueError(
                        f"{type(self).__name__} cannot search {type(self.policy.network).__name__}: a member written "
                        f"into it cannot read a text ({reason}); take another search space, or another model"
                    ) from error
                return find_fault(lambda: th.cat([said for _, said in self._together(reading, population, 99)]), alone)
        finally:
            self.policy.set_training_mode(training)

    def _trial(self, members: int = 2) -> Population:
        """Members far from the policy and from each other."""
        shape, generator = (members, self.domain.dim), th.Generator().manual_seed(0)
        if self.domain.kind == "real":
            return Dense(th.randn(shape, generator=generator).to(self.policy.device))
        drawn = th.randint(self.domain.choices, shape, generator=generator).to(self.policy.device)
        return Dense(drawn.bool() if self.domain.kind == "binary" else drawn)

    def _culprit(self) -> str:
        """What cannot be batched, for the warning."""
        return type(self.policy.network).__name__

    @abstractmethod
    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        """Prepares what all members share; returns what computes some members' log-probabilities (`Reading.shaped`)."""

    @contextmanager
    def materialised(self, population: Population, member: int) -> Iterator[None]:
        """The policy is one member inside, and as it was before afterwards."""
        if isinstance(population, Perturbed):
            tensors = list(self.tensors())
        else:
            tensors = [*self.policy.parameters(), *self.policy.buffers()]
        before, state = [tensor.detach().clone() for tensor in tensors], self.state_dict()
        try:
            with th.no_grad():
                if isinstance(population, Perturbed):
                    for index, tensor in enumerate(tensors):
                        tensor.copy_(population.tensor(index, member))
                else:
                    self.write(population.vectors(slice(member, member + 1))[0])
            yield
        finally:
            with th.no_grad():
                for tensor, value in zip(tensors, before, strict=True):
                    tensor.copy_(value)
            self.load_state_dict(state)

    def cost(self, population: Population) -> th.Tensor | None:
        """What members cost, in units of fitness, float64 [P]: taken off what they earn. None where nothing does."""
        return None

    def summary(self) -> dict[str, float]:
        """Numbers by name that say what the policy is in this space, for logs and reports."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a rebuilt space needs beside the policy's weights (where vectors are measured from)."""
        return {}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Take `state_dict`'s."""

    def save_pretrained(self, folder: Path) -> None:
        """Write the policy as it is, as an ordinary checkpoint."""
        self.policy.save_pretrained(folder)


def require_language_model(policy: Any, name: str) -> LMPolicy:
    """The policy, if it is an LMPolicy; a TypeError otherwise."""
    if not isinstance(policy, LMPolicy):
        raise TypeError(
            f"{name} needs the language model of an LMPolicy, not a {type(policy).__name__}: full, head and bias "
            "search any policy, one member after another"
        )
    return policy
