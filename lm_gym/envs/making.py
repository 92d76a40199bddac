"""From settings to a task and a reward."""

from lm_gym.data import Dataset
from lm_gym.envs.settings import Settings
from lm_gym.rewards import AtTheEnd, Choices, Reward, make_reward
from lm_gym.tasks import TASKS, Task, build_task
from lm_gym.tokenizer import load_tokenizer


def make_task(name: str, dataset: Dataset, settings: Settings) -> Task:
    """Encode what the settings ask for.

    Raises:
        ValueError: if the settings don't suit the task or the data.
    """
    kind = TASKS[name]
    if settings.fill == "sequential" and not kind.writable:
        raise ValueError(f"fill='sequential' writes predictions into input_ids, and those of {name} are no tokens")
    if settings.mask_actions and settings.unit == "sequence" and not kind.static_masks:
        raise ValueError(
            f"mask_actions=True with unit='sequence': which choices of {name} make sense depends on earlier ones, so "
            "no mask can be given before them; take unit='token'"
        )
    options = {"mask_probability": settings.mask_probability}
    return build_task(name, dataset, settings.split, load_tokenizer(settings.tokenizer), settings.max_length, **options)


def bind_reward(settings: Settings, task: Task) -> Reward:
    """Make the reward that the settings ask for, bound to the task.

    Raises:
        ValueError: if there is no such reward, or it doesn't suit the task.
    """
    reward = make_reward(task.default_reward if settings.reward is None else settings.reward, settings.reward_kwargs)
    if not settings.dense:
        reward = AtTheEnd(reward)
    distribution = settings.actions == "distribution"
    return reward.bind(Choices(task.shape.choices, task.choice_names, task.target_counts, distribution))
