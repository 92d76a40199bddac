"""Data-parallel updates: the texts of a batch are encoded by several processes, which all make the same update.

Every process knows the whole batch. It encodes its share of the texts, and `all_reduce` combines the shares to the
outputs of the whole batch. From these, every process computes the loss of the whole batch, with its samples, baselines
and normalisations. Gradients flow only into the texts that a process has encoded, and `all_reduce` averages them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch as th
import torch.distributed as dist

from lm_gym.agents.model.packed import Packed
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.model.text_encoder import TensorObservation

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm


class BatchSharing:
    """Compute the batch in this process; base class of other ways to compute it."""

    def begin(self, agent: GradientAlgorithm, draws: int) -> None:
        """Prepare for an update.

        Args:
            agent: the agent.
            draws: number of texts drawn before those of the batch.

        Raises:
            WorkerError: other processes cannot take part.
        """

    def positions(self, policy: LMPolicy, obs: TensorObservation) -> Packed:
        """Return the outputs of a policy at all positions of the batch (`LMPolicy.positions`)."""
        return policy.positions(obs)

    def agree(self, number: float) -> float:
        """Return the main process's value of a number."""
        return number

    def average(self, parameters: Iterable[th.nn.Parameter]) -> None:
        """Replace gradients by those of the whole batch."""

    def logs(self) -> dict[str, float]:
        """Return numbers to log."""
        return {}


class ProcessGroup(BatchSharing):
    """The part of one process in a group: process 0 is the main process, which encodes no texts.

    Args:
        rank: number of this process.
        size: number of processes.

    Attributes:
        traffic: bytes that this process has given to `all_reduce` so far.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.traffic = 0

    def positions(self, policy: LMPolicy, obs: TensorObservation) -> Packed:
        """See BatchSharing."""
        rows, slots = policy.places(obs)
        batch, width = obs["position_mask"].shape
        begin, end = self._share(batch)
        own = (rows >= begin) & (rows < end)
        with self._own_randomness(rows.device):
            part = self._part(policy, obs, begin, end)
        log_probs = self._gather(part.log_probs, own)
        hidden = self._gather(part.hidden.detach().float(), own)  # no gradient: the critic trains nothing else
        return Packed(log_probs, hidden, rows, slots, (batch, width), policy.filled(obs, rows, slots))

    def agree(self, number: float) -> float:
        """See BatchSharing."""
        return float(self.all_reduce(th.tensor([number if self.rank == 0 else 0.0], dtype=th.float64)))

    def average(self, parameters: Iterable[th.nn.Parameter]) -> None:
        """See BatchSharing."""
        trained = list(parameters)
        used = th.tensor([float(p.grad is not None) for p in trained], device=trained[0].device)
        grads = [th.zeros_like(p) if p.grad is None else p.grad for p in trained]
        total = self.all_reduce(th.cat([used, *(grad.flatten() for grad in grads)]))
        used, *sums = th.split(total, [len(trained), *(p.numel() for p in trained)])
        for parameter, has_gradient, grad in zip(trained, used.tolist(), sums, strict=True):
            average = (grad / self.size).view_as(parameter).to(parameter.dtype)
            parameter.grad = average if has_gradient else None

    def all_reduce(self, tensor: th.Tensor) -> th.Tensor:
        """Return the sum of a tensor over all processes; overwrites the tensor."""
        total = tensor.detach().cpu()
        self.traffic += total.nbytes
        dist.all_reduce(total)
        return total.to(tensor.device)

    def _share(self, texts: int) -> tuple[int, int]:
        """Return the start and the end of the range of texts that this process encodes."""
        workers = self.size - 1
        return max(0, self.rank - 1) * texts // workers, self.rank * texts // workers

    @contextmanager
    def _own_randomness(self, device: th.device) -> Iterator[None]:
        """Give dropout its own random numbers, so that all processes draw the same samples afterwards."""
        with th.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            th.manual_seed(int(th.randint(2**31, ())) + self.rank)
            yield

    def _part(self, policy: LMPolicy, obs: TensorObservation, begin: int, end: int) -> Packed:
        """Return the outputs at the positions of this process's texts."""
        if end > begin:
            return policy.positions({name: leaf[begin:end] for name, leaf in obs.items()})
        with th.no_grad():  # one text, for the shapes of the outputs, which come from the others
            part = policy.positions({name: leaf[:1] for name, leaf in obs.items()})
        none = part.rows[:0]
        log_probs, hidden = part.log_probs[:0].requires_grad_(th.is_grad_enabled()), part.hidden[:0]
        return Packed(log_probs, hidden, none, none, part.shape)

    def _gather(self, part: th.Tensor, own: th.Tensor) -> th.Tensor:
        """Return the values of all processes at Q positions, [Q, …], from those of this one where `own` [Q] is true."""
        gathered: th.Tensor = _Gather.apply(part, own, self)  # type: ignore[no-untyped-call]
        return gathered


class _Gather(th.autograd.Function):
    """The outputs of all processes, from which every process computes the same loss.

    `average` divides gradients by the number of processes, so the gradient of a process's own outputs is multiplied by
    it. Parameters that are used after the outputs were gathered, like those of the critic, have the same gradient in
    every process, which the average does not change.
    """

    @staticmethod
    def forward(ctx: Any, part: th.Tensor, own: th.Tensor, group: ProcessGroup) -> th.Tensor:
        ctx.save_for_backward(own)
        ctx.size = group.size
        whole = part.new_zeros((len(own), *part.shape[1:]))
        whole[own] = part
        return group.all_reduce(whole)

    @staticmethod
    def backward(ctx: Any, grad_output: th.Tensor) -> tuple[th.Tensor, None, None]:
        (own,) = ctx.saved_tensors
        return grad_output[own] * ctx.size, None, None
