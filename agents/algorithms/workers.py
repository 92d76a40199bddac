"""Copies of an agent for workers in other processes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch as th

from lm_gym.agents.algorithms.text_environments import TextEnvironments

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm

A = TypeVar("A", bound="TextAlgorithm")


@dataclass(frozen=True)
class Start:
    """The initial state of a replica: the only message that contains weights.

    Attributes:
        algorithm: class of the agent.
        saved: the saved agent.
        env: its environment.
        device: type of its device.
        threads: number of torch's threads, because the order of a sum, and so its last bits, may depend on it.
    """

    algorithm: type[TextAlgorithm]
    saved: bytes
    env: Any
    device: str
    threads: int

    @staticmethod
    def of(agent: TextAlgorithm) -> Start:
        """Create the start of a replica that computes the agent's next update."""
        saved = io.BytesIO()
        agent.save(saved)
        return Start(type(agent), saved.getvalue(), agent.env, agent.device.type, th.get_num_threads())

    def load(self) -> Any:
        """Return the copy of the agent, in this process."""
        th.set_num_threads(self.threads)
        return self.algorithm.load(io.BytesIO(self.saved), env=self.env, device=self.device)


class AgentReplica(Generic[A]):
    """A copy of an agent and its environment in another process, which makes the same updates.

    Args:
        start: the agent.
    """

    def __init__(self, start: Start) -> None:
        self.agent: A = start.load()

    @cached_property
    def _texts(self) -> TextEnvironments:
        """The replica's texts."""
        assert self.agent.env is not None
        return TextEnvironments(self.agent.env)

    def checksum(self) -> str:
        """Hash the weights and the state of the optimizer."""
        return checksum(self.agent)


def checksum(agent: TextAlgorithm) -> str:
    """Hash the weights of an agent's policy and the state of its optimizer: equal for equal bits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in _leaves(agent.get_parameters()):
        digest.update(part)
    return digest.hexdigest()


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the bytes of everything in nested state dicts."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield repr(name).encode()
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, th.Tensor):
        yield value.detach().cpu().contiguous().reshape(-1).view(th.uint8).numpy()
    elif isinstance(value, np.ndarray):
        yield value.tobytes()
    else:
        yield repr(value).encode()
