"""RLlib's new API stack uses the native environments directly, in mode NEXT_STEP."""

import os

import gymnasium
import numpy as np
import pytest

from tests.combinations import COMBINATIONS, Policy, arguments, watch
from tests.libraries import needs

pytestmark = [*needs("rllib"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def build(name, mode="NEXT_STEP"):
    """Return the configuration of PPO with a local runner of eight rows."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.distribution.torch.torch_distribution import TorchMultiCategorical
    from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.core.rl_module.torch import TorchRLModule

    class Module(TorchRLModule, ValueFunctionAPI):
        def setup(self):
            space = self.action_space
            whole = isinstance(space, gymnasium.spaces.MultiDiscrete)
            self.policy = Policy(self.observation_space, int(space.nvec[0] if whole else space.n))
            if whole:  # a module without a catalog names its distribution
                lengths = [int(n) for n in space.nvec]
                self.action_dist_cls = TorchMultiCategorical.get_partial_dist_cls(space=space, input_lens=lengths)

        def _forward(self, batch, **kwargs):
            return {Columns.ACTION_DIST_INPUTS: self.policy.logits(batch[Columns.OBS])}

        def compute_values(self, batch, embeddings=None):
            return self.policy.values(batch[Columns.OBS]).squeeze(-1)

    given = arguments(name)
    id_ = given.pop("id")
    config = (
        PPOConfig()
        .environment(f"lm_gym:{id_}", env_config={**given, "autoreset_mode": mode})
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=8,
            gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .learners(num_learners=0)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Module))
        .training(train_batch_size_per_learner=32, minibatch_size=16, num_epochs=1)
    )
    return config.build_algo()


@pytest.mark.parametrize("name", COMBINATIONS)
def test_ppo_plays_every_combination(name):
    algorithm = build(name)
    env = watch(algorithm.env_runner.env.unwrapped, name)
    algorithm.train()
    algorithm.stop()
    assert env.played >= 4


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_episodes_begin_at_their_beginning_in_next_step_only(mode):
    """SAME_STEP loses the first transition of all episodes but the first, as docs/plugging.md says."""
    algorithm = build("tags", mode)
    episodes = algorithm.env_runner.sample(num_timesteps=400)
    algorithm.stop()
    cursors = [int(np.ravel(one.get_observations(0)["cursor"])[0]) for one in episodes[8:] if one.t_started == 0]
    assert len(cursors) > 10
    assert (max(cursors) == 0) is (mode == "NEXT_STEP")
