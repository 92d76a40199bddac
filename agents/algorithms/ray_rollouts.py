"""Rollouts drawn by workers on a Ray cluster, apart from the process that learns."""

from __future__ import annotations

import pickle
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

from lm_gym.agents.algorithms.batch_sharing import BatchSharing
from lm_gym.agents.algorithms.ray_staff import AHEAD, RayStaff
from lm_gym.agents.algorithms.ray_workers import ReplicaActor, Worker
from lm_gym.agents.algorithms.rollout_replica import RolloutOrder, RolloutReplica, as_bytes
from lm_gym.agents.algorithms.rollouts import EpisodeRollout, Rollouts, TextRollout

if TYPE_CHECKING:
    from lm_gym.agents.algorithms.episodic import EpisodicREINFORCE


class SentWeights(NamedTuple):
    """Weights in the cluster: their unique number, the reference to them, and their size in bytes."""

    number: int
    reference: Any
    size: int


class RolloutActor(ReplicaActor):
    """The process of a worker. Messages are bytes, so that they can be counted."""

    replica_class = RolloutReplica
    _version = -1  # of the replica's weights

    def roll_out(self, message: bytes, version: int, weights: list[Any]) -> bytes:
        """Draw a rollout.

        Args:
            message: the order.
            version: number of the weights to draw it with.
            weights: the reference to them, in a list, so that it is followed only if they are new.
        """
        if version != self._version:
            self._replica.load(ray.get(weights[0]))
            self._version = version
        return pickle.dumps(self._replica.roll_out(pickle.loads(message)))


class RayRollouts(RayStaff, Rollouts):
    """Draws rollouts on Ray workers, each of which has a replica of the agent and its environment.

    A worker draws whole rollouts, each for one update. It gets the number of the update, the number of texts drawn
    before its batch, and the weights to draw it with, and returns choices, their log-probabilities and rewards. A
    rollout depends on nothing else, so the result does not depend on the number of workers, or on which of them draws
    it. Rollouts for later updates are drawn while the agent learns, as far ahead as their weights are known: `lag`
    updates, or up to the next multiple of `sync_every`. If a worker dies, others draw its rollouts again, and a new
    worker is started.

    Args:
        workers, address, gpus: see RayStaff.
    """

    actor_class = RolloutActor
    noun = "rollout"
    _expected: tuple[int, int]  # number of the agent's next update, and of the texts drawn before it
    _ordered: int  # number of the next update whose rollout is ordered
    _orders: dict[int, RolloutOrder]  # by update, until it takes the rollout
    _work: deque[range]  # updates whose rollouts no worker draws yet
    _drawn: dict[int, bytes]  # rollouts by update
    _losses: dict[int, int]  # number of workers that died on a rollout, by update
    _weights: dict[int, SentWeights]  # by version
    _sent: dict[Worker, int]  # number of the newest weights of a worker

    def __init__(self, workers: int, address: str = "local", *, gpus: float = 0) -> None:
        super().__init__(workers, address, gpus=gpus)
        self._agent: EpisodicREINFORCE | None = None
        self._env: Any = None
        self._puts = 0  # number of weights sent so far
        self._restart()
        self._forget()

    # ------------------------------------------------------------------ the interface

    def begin(self, agent: EpisodicREINFORCE) -> None:
        """See Rollouts."""
        if type(agent.sharing) is not BatchSharing:
            raise ValueError("RayRollouts needs an agent that learns in one process: leave agent.sharing as it is")
        if agent.unsampled is not None:
            raise ValueError(f"Ray workers draw samples, but {agent.unsampled}; or leave agent.rollouts as it is")
        history = agent.history
        history.record(agent.updates, agent.policy)
        self._follow(agent)
        draws, each = agent.batch_draws()
        self._expected = (agent.updates + 1, draws + each)
        current = history.version(agent.updates)
        self._weights = {version: sent for version, sent in self._weights.items() if version >= current}
        for update in range(self._ordered, history.known_until(agent.updates) + 1):
            self._orders[update] = RolloutOrder(update, draws + (update - agent.updates) * each)
            self._work.append(range(update, update + 1))
            self._ordered = update + 1
        self._assign(agent)

    def take(self, agent: EpisodicREINFORCE) -> TextRollout | EpisodeRollout | None:
        """See Rollouts."""
        try:
            while agent.updates not in self._drawn:
                self._assign(agent)
                answer = self._answer(self._losses)
                if answer is not None:
                    (update,), message = answer
                    self._drawn[update] = message
        except BaseException:
            self._agent = None  # the next update starts the workers again
            raise
        del self._orders[agent.updates]
        rollout: TextRollout | EpisodeRollout = pickle.loads(self._drawn.pop(agent.updates))
        return rollout

    # ------------------------------------------------------------------ for RayStaff

    def _follow(self, agent: EpisodicREINFORCE) -> None:
        """See RayStaff."""
        now = (agent.updates, agent.batch_draws()[0])
        if agent is not self._agent or agent.env is not self._env:
            self._restart()
            self._agent, self._env = agent, agent.env
        if now != self._expected:
            self._forget()
            self._expected, self._ordered = now, agent.updates
        self.resize(self._wanted)

    def _restart(self) -> None:
        """See RayStaff."""
        super()._restart()
        self._start, self._sent, self._expected = None, {}, (-1, -1)

    def _forget(self) -> None:
        """Forget all orders, because the agent continues with an update other than the next one."""
        for worker in self._ready:
            worker.work = {}
        self._orders, self._work, self._drawn, self._losses, self._weights = {}, deque(), {}, {}, {}

    def _give_back(self, work: list[range]) -> None:
        """See RayStaff."""
        self._work = deque(sorted([*work, *self._work], key=lambda updates: updates.start))

    # ------------------------------------------------------------------ orders

    def _assign(self, agent: EpisodicREINFORCE) -> None:
        """Send orders to workers, one at a time to the one that has the fewest."""
        self._join(agent)
        while self._work and self._ready:
            worker = min(self._ready, key=lambda worker: len(worker.work))
            if len(worker.work) == AHEAD:
                return
            updates = self._work.popleft()
            weights = self._weights_for(agent, updates.start)
            message = pickle.dumps(self._orders[updates.start])
            worker.work[worker.actor.roll_out.remote(message, weights.number, [weights.reference])] = updates
            self.traffic.down += len(message) + (weights.size if self._sent.get(worker) != weights.number else 0)
            self._sent[worker] = weights.number

    def _weights_for(self, agent: EpisodicREINFORCE, update: int) -> SentWeights:
        """Return the weights for a rollout, which are sent if they are new."""
        version = agent.history.version(update)
        if version not in self._weights:
            message = as_bytes(agent.history.recorded[version])
            self._puts += 1
            self._weights[version] = SentWeights(self._puts, ray.put(message), len(message))
        return self._weights[version]
