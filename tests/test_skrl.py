"""skrl uses the environments directly, with observations as one flat row of float32."""

import gymnasium
import pytest
import torch
from gymnasium.error import ResetNeeded

from tests.combinations import COMBINATIONS, Policy, watched
from tests.libraries import needs

pytestmark = [*needs("skrl"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_ppo_plays_every_combination(name, mode, tmp_path):
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.envs.wrappers.torch import wrap_env
    from skrl.memories.torch import RandomMemory
    from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model, MultiCategoricalMixin
    from skrl.trainers.torch import SequentialTrainer
    from skrl.utils.spaces.torch import unflatten_tensorized_space

    vector = watched(name, mode)
    env = wrap_env(vector, wrapper="gymnasium", verbose=False)
    policy = Policy(vector.single_observation_space, vector.task.shape.choices)
    whole = isinstance(vector.single_action_space, gymnasium.spaces.MultiDiscrete)

    class Part(Model):
        def __init__(self, compute):
            super().__init__(
                observation_space=env.observation_space, action_space=env.action_space, device=torch.device("cpu")
            )
            self.policy, self.part = policy, compute

        def compute(self, inputs, role=""):
            return self.part(unflatten_tensorized_space(self.observation_space, inputs["observations"])), {}

    class Actor(MultiCategoricalMixin if whole else CategoricalMixin, Part):
        def __init__(self):
            Part.__init__(self, policy.logits)
            (MultiCategoricalMixin if whole else CategoricalMixin).__init__(self)

    class Critic(DeterministicMixin, Part):
        def __init__(self):
            Part.__init__(self, policy.values)
            DeterministicMixin.__init__(self)

    settings = PPO_CFG(rollouts=4, learning_epochs=1, mini_batches=2)
    settings.experiment.directory = str(tmp_path)
    settings.experiment.write_interval = settings.experiment.checkpoint_interval = 0
    agent = PPO(
        models={"policy": Actor(), "value": Critic()},
        memory=RandomMemory(memory_size=4, num_envs=env.num_envs, device="cpu"),
        cfg=settings,
        observation_space=env.observation_space,
        action_space=env.action_space,
        device="cpu",
    )
    trainer = {"timesteps": 8, "headless": True, "disable_progressbar": True, "close_environment_at_exit": False}
    SequentialTrainer(cfg=trainer, env=env, agents=agent).train()
    assert vector.played == 8


def test_disabled_rows_are_never_reset():
    """As docs/plugging.md says, this fails; the error names what is missing."""
    from skrl.envs.wrappers.torch import wrap_env

    env = wrap_env(watched("tags-whole", "DISABLED"), wrapper="gymnasium", verbose=False)
    env.reset()
    actions = torch.zeros(8, len(env.action_space.nvec), dtype=torch.int64)
    env.step(actions)
    env.reset()
    with pytest.raises(ResetNeeded, match="autoreset is disabled"):
        env.step(actions)


def test_the_wrapper_must_be_named():
    """skrl's automatic choice of a wrapper looks only at direct base classes."""
    from skrl.envs.wrappers.torch import wrap_env

    with pytest.raises(ValueError, match="Unknown wrapper"):
        wrap_env(watched("tags", "NEXT_STEP"), verbose=False)
