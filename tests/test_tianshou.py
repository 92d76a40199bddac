"""Tianshou: the adapter compared with its own DummyVectorEnv, and the mask for its DQN."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from torch.distributions import Categorical, Independent

from tests.combinations import COMBINATIONS, Policy, watched
from tests.following import SEED, Following, Script
from tests.libraries import needs

pytestmark = [*needs("tianshou"), pytest.mark.filterwarnings("ignore")]

NER, MASKED = "lm_gym/NER-v0", "lm_gym/MaskedLM-v0"


def adapter(id_=NER, num_envs=4, *, mask_key=False, autoreset_mode="DISABLED", **options):
    from lm_gym.compat.tianshou import VectorEnvAdapter

    env = gymnasium.make_vec(id_, num_envs=num_envs, autoreset_mode=autoreset_mode, split="validation", **options)
    return VectorEnvAdapter(env, mask_key=mask_key)


@pytest.mark.parametrize("mask_key", [False, True])
@pytest.mark.parametrize("unit", ["token", "sequence"])
@pytest.mark.parametrize("id_", [NER, MASKED])
def test_equal_to_a_dummy_vector_env_through_hundreds_of_episode_ends(id_, unit, mask_key):
    """Stepping and resetting subsets, as Tianshou's Collector does."""
    from tianshou.data import Batch
    from tianshou.env import DummyVectorEnv

    from lm_gym.compat.tianshou import MaskKey

    if mask_key and id_ == NER and unit == "sequence":
        return  # NER refuses masks before the choices that they depend on
    options = {"unit": unit, "mask_actions": mask_key}
    ours = adapter(id_, mask_key=mask_key, **options)
    singles = [Following(gymnasium.make(id_, split="validation", **options)) for _ in range(4)]
    theirs = DummyVectorEnv([lambda one=one: MaskKey(one) if mask_key else one for one in singles])
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == [worker.env.observation_space for worker in theirs.workers]
    first, _ = ours.reset(seed=SEED)
    script = Script(ours.vector, singles)
    assert_same(first, Batch(obs=theirs.reset()[0]).obs)
    rng, ends, ready = np.random.default_rng(0), 0, np.arange(4)
    ours.vector.action_space.seed(0)
    while ends < 200:
        actions = ours.vector.action_space.sample()[ready]
        mine, other = ours.step(actions, ready), theirs.step(actions, ready)
        assert_same(mine[0], Batch(obs=other[0]).obs)
        for one, two in zip(mine[1:4], other[1:4], strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)
        assert [info["env_id"] for info in mine[4]] == [info["env_id"] for info in other[4]] == ready.tolist()
        ended = ready[mine[2] | mine[3]]
        ends += len(ended)
        out = np.setdiff1d(np.arange(4), ready)
        begin = np.union1d(ended, out)
        if len(begin):
            again = ours.reset(begin)
            begun = np.zeros(4, np.bool_)
            begun[begin] = True
            script.note(begun)
            assert_same(again[0], Batch(obs=theirs.reset(begin)[0]).obs)
        ready = np.arange(4) if rng.random() < 0.9 else np.sort(rng.choice(4, 2, replace=False))


def assert_same(mine, theirs):
    assert set(mine.keys()) == set(theirs.keys())
    for key in mine.keys():  # noqa: SIM118  (a Batch iterates over rows)
        if hasattr(mine[key], "keys"):
            assert_same(mine[key], theirs[key])
        else:
            assert mine[key].dtype == theirs[key].dtype
            assert (mine[key] == theirs[key]).all()


def test_a_row_left_out_must_be_reset():
    made = adapter()
    made.reset()
    made.step(np.zeros(2, np.int64), [0, 2])
    with pytest.raises(ResetNeeded, match=r"\[1, 3\]"):
        made.step(np.zeros(4, np.int64))
    made.reset([1, 3])
    made.step(np.zeros(4, np.int64))


def test_options_seeds_and_attributes():
    made = adapter()
    infos = made.reset(options={"indices": np.array([5, 4, 3, 2])})[1]
    assert [info["index"] for info in infos] == [5, 4, 3, 2]
    assert made.seed([3, 4, 5, 6]) == made.seed(3) == [3] * 4
    assert (made.reset(seed=3)[0].input_ids == made.reset(seed=3)[0].input_ids).all()
    assert made.get_env_attr("split", [0, 1]) == ["validation"] * 2
    assert len(made) == made.env_num == 4
    assert made.render() == [None] * 4
    made.close()
    assert made.is_closed


def test_strangers_and_other_modes_are_refused():
    from lm_gym.compat.tianshou import VectorEnvAdapter

    with pytest.raises(TypeError, match="CartPole"):
        VectorEnvAdapter(gymnasium.make_vec("CartPole-v1", num_envs=2))
    with pytest.raises(ValueError, match="autoreset_mode='DISABLED'"):
        adapter(autoreset_mode="SAME_STEP")
    with pytest.raises(ValueError, match="mask_actions=True"):
        adapter(mask_key=True)


def ppo(env):
    """PPO with masks in the network."""
    from tianshou.algorithm import PPO
    from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory

    class Actor(torch.nn.Module):
        def __init__(self, policy):
            super().__init__()
            self.policy = policy

        def forward(self, obs, state=None, info=None):
            return self.policy.logits({key: torch.as_tensor(leaf) for key, leaf in obs.items()}), state

    class Critic(Actor):
        def forward(self, obs, **_):
            return self.policy.values({key: torch.as_tensor(leaf) for key, leaf in obs.items()})

    choices = env.vector.task.shape.choices
    policy = Policy(env.vector.single_observation_space, choices)
    whole = isinstance(env.vector.single_action_space, gymnasium.spaces.MultiDiscrete)

    def distribution(logits):
        if not whole:
            return Categorical(logits=logits)
        return Independent(Categorical(logits=logits.unflatten(-1, (-1, choices))), 1)

    actor = ProbabilisticActorPolicy(
        actor=Actor(policy),
        dist_fn=distribution,
        action_space=env.vector.single_action_space,
        action_scaling=False,
        action_bound_method=None,
    )
    return PPO(policy=actor, critic=Critic(policy), optim=AdamOptimizerFactory(lr=1e-3))


@pytest.mark.parametrize("name", COMBINATIONS)
def test_ppo_plays_every_combination(name):
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.trainer import OnPolicyTrainerParams

    from lm_gym.compat.tianshou import VectorEnvAdapter

    env = VectorEnvAdapter(watched(name, "DISABLED"))
    algorithm = ppo(env)
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector(algorithm.policy, env, VectorReplayBuffer(128, 8)),
            max_epochs=1,
            epoch_num_steps=64,
            collection_step_num_env_steps=32,
            update_step_num_repetitions=1,
            batch_size=16,
            test_collector=None,
            show_progress=False,
        )
    )
    assert env.vector.played == 8


@pytest.mark.parametrize("name", ["tags", "tags-masked", "words", "words-masked"])
def test_dqn_plays_every_discrete_combination(name):
    """Whole episodes can be collected too, although rows are dropped one after another."""
    from tianshou.algorithm import DQN
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.trainer import OffPolicyTrainerParams

    from lm_gym.compat.tianshou import VectorEnvAdapter

    env = VectorEnvAdapter(watched(name, "DISABLED"), mask_key="masked" in name)

    class Values(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.policy = Policy(env.vector.single_observation_space, env.vector.task.shape.choices)

        def forward(self, obs, state=None, info=None):
            return self.policy.logits({key: torch.as_tensor(leaf) for key, leaf in obs.items()}), state

    space = env.vector.single_action_space
    policy = DiscreteQLearningPolicy(model=Values(), action_space=space, eps_training=0.5)
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), target_update_freq=10)
    collector = Collector(policy, env, VectorReplayBuffer(400, 8), exploration_noise=True)
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=64,
            collection_step_num_env_steps=32,
            update_step_num_gradient_steps_per_sample=0.1,
            batch_size=16,
            test_collector=None,
            show_progress=False,
        )
    )
    assert collector.collect(n_episode=13, reset_before_collect=True).n_collected_episodes == 13
