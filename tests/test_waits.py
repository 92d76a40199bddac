"""The number of waits for a GPU, counted on the CPU as operations that return a tensor's value to Python."""

from collections import Counter

import gymnasium
import pytest
import torch as th
from torch.utils._python_dispatch import TorchDispatchMode

from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised
from lm_gym.agents.model.devices import read_numbers
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.population.reading import Reading
from lm_gym.agents.search.spaces import SEARCH_SPACES
from tests.small import SMALL, few_names, small


class Waits(TorchDispatchMode):
    """Count reads of single values, and `nonzero`, whose result has a size that only the device knows."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (th.ops.aten._local_scalar_dense.default, th.ops.aten.nonzero.default):
            self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_reads_and_nonzero_are_counted():
    with Waits() as waits:
        th.ones(3).sum().item()
        th.ones(3).nonzero()
        th.ones(3).tolist()  # a single transfer, for any number of values
    assert waits.counts == {"_local_scalar_dense": 1, "nonzero": 1}


def test_numbers_are_read_together():
    with Waits() as waits:
        read = read_numbers({"a": th.tensor(1.5), "b": 2.0, "c": th.tensor(3, dtype=th.int64)})
    assert read == {"a": 1.5, "b": 2.0, "c": 3.0}
    assert list(read) == ["a", "b", "c"]
    assert not waits.counts


@pytest.mark.parametrize(("algorithm", "more"), [(Supervised, {}), (REINFORCE, {"samples": 4})])
def test_an_update_reads_few_values(algorithm, more):
    env = gymnasium.make_vec(
        "lm_gym/NER-v0", num_envs=4, dataset=few_names(8), unit="sequence", reward="accuracy", autoreset_mode="SameStep"
    )
    agent = algorithm("LMPolicy", env, 1e-3, policy_kwargs=small(env), seed=0, device="cpu", **more)
    agent.learn(1)
    agent.policy.optimizer.step = lambda: None  # AdamW reads its counters, which are on the CPU
    with Waits() as waits:
        agent.learn(1, reset_num_timesteps=False, log_interval=None)
    assert waits.counts["nonzero"] == 1  # the positions of the batch
    assert waits.counts["_local_scalar_dense"] <= 5, "values are read one by one: return them in Update.logs"


def test_a_generation_does_not_read_a_value_for_each_parameter():
    counts = []
    for layers in (1, 3):
        env = gymnasium.make_vec("lm_gym/NER-v0", num_envs=4, dataset=few_names(8), unit="sequence")
        model = {"model": {**small(env)["model"], **SMALL, "num_hidden_layers": layers}}
        agent = REINFORCE("LMPolicy", env, policy_kwargs=model, seed=0, device="cpu")
        space = SEARCH_SPACES["full"](agent.policy)
        optimizer = OPTIMIZERS["low_rank_es"](space.tensors(), space.blocks, seed=0, popsize=4)
        obs, _ = agent.policy.obs_to_tensor(env.reset(seed=0)[0])
        with Waits() as waits, th.no_grad():
            population = optimizer.ask()
            fitness = th.zeros(4, dtype=th.float64)
            reading = Reading(obs, 4)
            for members, log_probs in space.evaluate(obs, population, 64):
                whose = members.start + reading.positions(members)[0]
                fitness.index_add_(0, whose, log_probs.reshape(-1, log_probs.shape[-1])[:, 0].double())
            optimizer.tell(fitness)
        counts.append(waits.counts)
    assert counts[0] == counts[1]
