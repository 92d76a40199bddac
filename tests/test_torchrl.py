"""TorchRL uses the environments directly: single ones, and native ones with autoreset disabled."""

import pytest
import torch
from torch.distributions import Categorical, Independent

from tests.cases import CASES, single, vector
from tests.combinations import COMBINATIONS, Policy, watched
from tests.libraries import needs

pytestmark = [*needs("torchrl"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(("id_", "options"), CASES)
def test_torchrl_checks(id_, options):
    from torchrl.envs import GymWrapper, check_env_specs

    for env in (single(id_, options), vector(id_, options, 3, "DISABLED")):
        wrapped = GymWrapper(env, categorical_action_encoding=True)
        wrapped.set_seed(0)
        check_env_specs(wrapped, break_when_any_done="both")


@pytest.mark.parametrize("name", COMBINATIONS)
def test_ppo_plays_every_combination(name):
    from tensordict.nn import TensorDictModule
    from torchrl.collectors import Collector
    from torchrl.envs import GymWrapper
    from torchrl.modules import ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    vector = watched(name, "DISABLED")
    env = GymWrapper(vector, categorical_action_encoding=True)
    choices, leaves = vector.task.shape.choices, list(vector.single_observation_space)
    policy = Policy(vector.single_observation_space, choices)

    class Part(torch.nn.Module):
        def __init__(self, compute):
            super().__init__()
            self.policy, self.compute = policy, compute

        def forward(self, *given):
            return self.compute(dict(zip(leaves, given, strict=True)))

    def distribution(logits):
        if "whole" not in name:
            return Categorical(logits=logits)
        return Independent(Categorical(logits=logits.unflatten(-1, (-1, choices))), 1)

    actor = ProbabilisticActor(
        TensorDictModule(Part(policy.logits), leaves, ["logits"]),
        in_keys=["logits"],
        spec=env.action_spec,
        distribution_class=distribution,
        return_log_prob=True,
    )
    critic = ValueOperator(Part(policy.values), in_keys=leaves)
    loss, advantage = ClipPPOLoss(actor, critic), GAE(gamma=0.9, lmbda=0.9, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters())
    for rollout in Collector(env, actor, frames_per_batch=32, total_frames=64, auto_register_policy_transforms=False):
        advantage(rollout)
        parts = loss(rollout.reshape(-1))
        (parts["loss_objective"] + parts["loss_critic"] + parts["loss_entropy"]).backward()
        assert all(torch.isfinite(one.grad).all() for one in policy.parameters())
        optimizer.step()
    assert vector.played >= 8


@pytest.mark.parametrize("name", ["tags-masked", "words-masked"])
def test_the_action_mask_transform_reads_the_observation(name):
    from torchrl.envs import ActionMask, GymWrapper, TransformedEnv

    vector = watched(name, "DISABLED")
    env = TransformedEnv(GymWrapper(vector, categorical_action_encoding=True), ActionMask())
    env.rollout(20, break_when_any_done=False)
    assert vector.played >= 20


def test_last_observations_are_those_of_the_end():
    from torchrl.envs import GymWrapper

    env = GymWrapper(watched("tags", "DISABLED"), categorical_action_encoding=True)
    rollout = env.rollout(20, break_when_any_done=False)
    ended = rollout["next", "done"].squeeze(-1)
    assert ended.any()
    last = rollout["next"][ended]
    assert (last["input_ids"] == rollout["input_ids"][ended]).all()
    assert (last["cursor"] == rollout["cursor"][ended]).all()
    assert (rollout["cursor"][:, 1:][ended[:, :-1]] == 0).all()


@pytest.mark.parametrize(("mode", "error"), [("NEXT_STEP", RuntimeError), ("SAME_STEP", KeyError)])
def test_the_other_modes_fail(mode, error):
    """As docs/plugging.md says, SAME_STEP fails at the first end, on infos that only some steps have."""
    from torchrl.envs import GymWrapper

    with pytest.raises(error):
        GymWrapper(watched("tags", mode), categorical_action_encoding=True).rollout(20, break_when_any_done=False)
