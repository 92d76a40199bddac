"""What a black-box search changes in a policy, and how the members of a population are evaluated together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch as th

from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.population import Block, Domain, Perturbed, Population


class SearchSpace(ABC):
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

    def tensors(self) -> Sequence[th.Tensor]:
        """The live tensors behind `blocks`, for optimizers that move them in place."""
        raise TypeError(f"{type(self).__name__} has no parameters to move in place: take an optimizer of vectors")

    @abstractmethod
    def initial(self) -> th.Tensor:
        """The vector of the policy as it is when the space is made, [d]."""

    @abstractmethod
    def write(self, vector: th.Tensor) -> None:
        """Make the policy the one that `vector` [d] describes; stays until the next write."""

    def evaluate(
        self, obs: dict[str, th.Tensor], population: Population, max_rows: int
    ) -> Iterator[tuple[slice, th.Tensor]]:
        """What each member says at the Q positions of the same B texts, several members in one forward.

        The result equals each member written into the policy on its own, and `policy.positions(obs)`, to 1e-5. The
        policy's weights are as before afterwards; it is out of training mode (no dropout). No gradients.

        Args:
            obs: the observation of B texts.
            population: P members.
            max_rows: texts in one forward, members times B; at least one member is evaluated at a time.

        Yields:
            members, their log-probabilities [p, Q, n], positions in the order of `policy.positions(obs)`.

        Raises:
            TypeError: a policy that is no LMPolicy.
        """
        require_language_model(self.policy, "evaluate")
        if max_rows < 1:
            raise ValueError(f"max_rows={max_rows}: give 1 or more")
        self.policy.set_training_mode(False)
        with th.inference_mode():
            run = self._evaluator(obs, population)
        members = max(1, max_rows // len(obs["input_ids"]))
        if members > 1:
            members -= members % 2  # both members of an antithetic pair in the same forward
        for start in range(0, population.size, members):
            chunk = slice(start, min(start + members, population.size))
            with th.inference_mode():
                log_probs = run(chunk)
            yield chunk, log_probs

    @abstractmethod
    def _evaluator(self, obs: dict[str, th.Tensor], population: Population) -> Callable[[slice], th.Tensor]:
        """Prepares what all members share; returns what computes some members' log-probabilities [p, Q, n]."""

    @contextmanager
    def materialised(self, population: Population, member: int) -> Iterator[None]:
        """The policy is one member inside, and as it was before afterwards where the search moves live tensors."""
        if not isinstance(population, Perturbed):
            self.write(population.vectors(slice(member, member + 1))[0])
            yield
            return
        tensors = list(self.tensors())
        before = [tensor.clone() for tensor in tensors]
        try:
            with th.no_grad():
                for index, tensor in enumerate(tensors):
                    tensor.copy_(population.tensor(index, member))
            yield
        finally:
            with th.no_grad():
                for tensor, value in zip(tensors, before, strict=True):
                    tensor.copy_(value)

    def cost(self, population: Population) -> th.Tensor | None:
        """What members cost, in units of fitness, float64 [P]: taken off what they earn. None where nothing does."""
        return None

    def summary(self) -> dict[str, float]:
        """Numbers by name that say what the policy is in this space, for logs and reports."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a rebuilt space needs beside the policy's weights (where vectors are measured from)."""
        return {}

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:  # noqa: B027  (most keep nothing)
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
