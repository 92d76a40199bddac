"""The base class of search spaces, which describe the searched part of a policy and evaluate populations."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch as th

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.domain import Block, Domain
from lm_gym.agents.search.population.forward import read_together
from lm_gym.agents.search.population.perturbed import Perturbed
from lm_gym.agents.search.population.population import Dense, Population
from lm_gym.agents.search.population.precision import Computing, Precision
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.population.trial import find_fault, full_precision, trial_texts
from lm_gym.bounds import Bounded

Evaluate = Callable[[slice], Iterator[tuple[slice, th.Tensor]]]  # members → some of them, their log-probabilities


class SearchSpace(Bounded, ABC):
    """Base class of search spaces. A space represents a part of a policy as a vector and defines its scale and type.

    Args:
        policy: an LMPolicy; spaces of parameters accept any Stable-Baselines3 policy.
        options: options of the space.

    Attributes:
        policy: the policy.
        domain: the domain of vectors.
        blocks: the tensors behind a real vector, in order; empty if the vector is not a list of parameters.
        precision: precision of the members' forward passes. The policy's weights keep their precision.
        rows_on_cpu: number of texts, counted for each member, with which a forward pass on a CPU is fastest. Larger
            activations leave the cache (`python benchmarks/population.py --parts rows`).
    """

    rows_on_cpu: ClassVar[int] = 64
    policy: Any
    domain: Domain
    blocks: tuple[Block, ...] = ()
    precision: Precision = "float32"
    _batched: Mapping[bool, bool] = {}  # by whether members read different texts; set by the first check

    def tensors(self) -> Sequence[th.Tensor]:
        """Return the live tensors behind `blocks`, for optimizers that move them in place under `th.no_grad`."""
        raise TypeError(f"{type(self).__name__} has no parameters to move in place: use an optimizer of vectors")

    @abstractmethod
    def initial(self) -> th.Tensor:
        """Return the vector of the policy at the creation of the space, [d]."""

    @abstractmethod
    def write(self, vector: th.Tensor) -> None:
        """Change the policy to the one that `vector` [d] describes, until the next write."""

    def evaluate(
        self, obs: dict[str, th.Tensor], population: Population, max_rows: int, groups: int = 1
    ) -> Iterator[tuple[slice, th.Tensor]]:
        """Evaluate the members at the positions of their texts, several members per forward pass.

        The result equals `policy.positions(obs)` after writing each member into the policy, to 1e-5. The policy's
        weights do not change, but it is set to evaluation mode. No gradients are computed. If the model cannot be
        batched (see `check_batching`), members are evaluated one after another.

        Args:
            obs: the observation of B texts.
            population: P members.
            max_rows: maximum number of texts in one forward pass, counted for each member; at least one member runs at
                a time.
            groups: G, which divides P and B: the first P/G members read the first B/G texts, and so on (`Reading`).
                1: all members read all texts.

        Yields:
            members, their log-probabilities: [p, Q, n], positions in the order of `policy.positions(obs)`; with more
            than one group [A, n], the positions of one member's texts after those of another's (`Reading.positions`).

        Raises:
            TypeError: the policy is not an LMPolicy.
            ValueError: `groups` does not divide members and texts.
        """
        require_language_model(self.policy, "evaluate")
        reading = Reading(dict(obs), population.size, groups)  # a new object, for which nothing is reused
        chunks = reading.chunks(max_rows)
        run = self.prepare(reading, population)
        for chunk in chunks:
            yield from run(chunk)

    def prepare(self, reading: Reading, population: Population) -> Evaluate:
        """Compute what all members share, and return a function that evaluates some members, as `evaluate` yields."""
        apart = reading.groups > 1
        if apart not in self._batched:
            self.check_batching(apart=apart)
        self.policy.set_training_mode(False)
        return self._together(reading, population) if self._batched[apart] else self._one_by_one(reading, population)

    def _together(self, reading: Reading, population: Population) -> Evaluate:
        computing = Computing(self.policy.network, self.precision)
        with th.inference_mode(), computing:
            run = self._evaluator(reading, population)

        def evaluate(chunk: slice) -> Iterator[tuple[slice, th.Tensor]]:
            with th.inference_mode(), computing:
                log_probs = run(chunk)
            yield chunk, log_probs

        return evaluate

    def _one_by_one(self, reading: Reading, population: Population) -> Evaluate:
        def evaluate(chunk: slice) -> Iterator[tuple[slice, th.Tensor]]:
            for member in range(chunk.start, chunk.stop):
                alone = slice(member, member + 1)
                computing = Computing(self.policy.network, self.precision)
                with self.materialised(population, member), th.inference_mode(), computing:
                    log_probs = read_together(self.policy, reading, alone)
                yield alone, log_probs

        return evaluate

    def check_batching(self, *, apart: bool = False) -> None:
        """Compare a few members in one forward pass with the same members written into the policy.

        Constructors call this last. If the results differ or the batched forward pass fails, a warning names the cause,
        and `evaluate` evaluates one member after another. Only an LMPolicy is batched.

        Args:
            apart: whether members read different texts; checked at the first use.
        """
        if not isinstance(self.policy, LMPolicy):
            return
        if self.policy.waits:  # texts take several steps, which members play one after another anyway
            self._batched = {**self._batched, apart: False}
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
        """Return the fault of the policy's batched forward pass, or None."""
        obs, training = trial_texts(self.policy), self.policy.training
        groups = len(obs["input_ids"]) if apart else 1
        population = self._trial(2 * groups)
        reading, everyone = Reading(obs, population.size, groups), slice(0, population.size)
        self.policy.set_training_mode(False)
        precision, self.precision = self.precision, "float32"
        try:
            with full_precision(self.policy):
                try:
                    alone = th.cat([said for _, said in self._one_by_one(reading, population)(everyone)])
                except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                    raise ValueError(
                        f"{type(self).__name__} cannot search {type(self.policy.network).__name__}: a member written "
                        f"into it cannot read a text ({reason}); use another search space, or another model"
                    ) from error
                together = partial(self._together, reading, population)
                return find_fault(lambda: th.cat([said for _, said in together()(everyone)]), alone)
        finally:
            self.policy.set_training_mode(training)
            self.precision = precision

    def _trial(self, members: int = 2) -> Population:
        """Return members far from the policy and from each other."""
        shape, generator = (members, self.domain.dim), th.Generator().manual_seed(0)
        if self.domain.kind == "real":
            return Dense(th.randn(shape, generator=generator).to(self.policy.device))
        drawn = th.randint(self.domain.choices, shape, generator=generator).to(self.policy.device)
        return Dense(drawn.bool() if self.domain.kind == "binary" else drawn)

    def _culprit(self) -> str:
        """Return what cannot be batched, for the warning."""
        return type(self.policy.network).__name__

    @abstractmethod
    def _evaluator(self, reading: Reading, population: Population) -> Callable[[slice], th.Tensor]:
        """Prepare what members share; return a function that computes their log-probabilities (`Reading.shaped`)."""

    @contextmanager
    def materialised(self, population: Population, member: int) -> Iterator[None]:
        """Change the policy to one member, and restore it afterwards."""
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
        """Return the cost of each member in units of fitness, float64 [P], which is subtracted; None for no costs."""
        return None

    def summary(self) -> dict[str, float]:
        """Return numbers that describe the policy in this space by name, for logs and reports."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a rebuilt space needs besides the policy's weights, such as the origin of vectors."""
        return {}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Load a `state_dict`."""

    def save_pretrained(self, folder: Path) -> None:
        """Write the policy as an ordinary checkpoint."""
        self.policy.save_pretrained(folder)


def require_language_model(policy: Any, name: str) -> LMPolicy:
    """Return the policy if it is an LMPolicy; raise TypeError otherwise."""
    if not isinstance(policy, LMPolicy):
        raise TypeError(
            f"{name} needs an LMPolicy, got {type(policy).__name__}: full, head and bias search any policy, one member "
            "after another"
        )
    return policy
