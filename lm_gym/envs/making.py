"""Creation of the task and the reward from settings."""

from typing import Any

from lm_gym.data import Dataset
from lm_gym.envs.arguments import EnvArguments
from lm_gym.rewards import AtTheEnd, Choices, Reward, bind_reward, make_reward
from lm_gym.tasks import Task, build_task
from lm_gym.tokenizer import load_tokenizer


def make_task(kind: type[Task], dataset: Dataset, settings: EnvArguments, options: Any) -> Task:
    """Return the task with its encoded split.

    Raises:
        ValueError: the settings do not suit the task or the data.
    """
    kind.check(settings.unit, options)
    task = build_task(kind, dataset, settings.split, load_tokenizer(settings.tokenizer), settings.max_length, options)
    depends = not (task.static_masks or task.in_steps or task.shape.positions == 1)
    if settings.mask_actions and settings.unit == "sequence" and depends:
        raise ValueError(
            f"mask_actions=True with unit='sequence': the legal choices of {kind.env_id} depend on earlier "
            "choices, so no mask can be given in advance; use unit='token'"
        )
    if task.needs_distributions and settings.actions != "distribution":
        raise ValueError(
            f"this order or temperature of {kind.env_id} needs the policy's distributions: make the environment with "
            "actions='distribution', or choose another order and temperature=0"
        )
    return task


def reward_of(settings: EnvArguments, task: Task) -> Reward:
    """Return the reward, bound to the task.

    Raises:
        ValueError: the reward is unknown or does not suit the task.
    """
    reward = make_reward(task.default_reward if settings.reward is None else settings.reward, settings.reward_kwargs)
    if not settings.dense:
        reward = AtTheEnd(reward)
    distribution = settings.actions == "distribution"
    choices = Choices(
        task.shape.choices,
        task.choice_keys(),
        task.target_counts,
        distribution,
        task.gold,
        task.costs,
        task.abstention,
        task.distinct,
    )
    return bind_reward(reward, choices)
