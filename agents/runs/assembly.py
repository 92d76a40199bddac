"""Create the dataset, environments and agent that settings describe."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import gymnasium
from stable_baselines3.common.utils import get_device

from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.runs.settings import EnvSettings, Settings, SettingsError
from lm_gym.data import Dataset
from lm_gym.envs import TextVectorEnv, find_task
from lm_gym.envs.spaces import longer
from lm_gym.tasks import load_data
from lm_gym.tokenizer import TextTokenizer

_NOT_ARGUMENTS = ("id", "num_envs", "group_size", "dataset", "tokenizer", "sampling")


def make_dataset(env: EnvSettings, data: Mapping[str, Any]) -> Dataset:
    """Load the dataset that the settings name, without changes.

    Raises:
        ValueError: if the environment is unknown.
        DataError: if the dataset cannot be used.
    """
    return load_data(find_task(env.id), env.dataset, **data)


def make_training_dataset(settings: Settings) -> Dataset:
    """Load the dataset. Without a validation split, hold out a tenth of train and mention it in the notes."""
    return make_dataset(settings.env, settings.data).with_holdout()


def make_env(
    settings: Settings,
    dataset: Dataset,
    split: str,
    tokenizer: str | TextTokenizer | None = None,
    *,
    learning: bool = False,
) -> TextVectorEnv:
    """Create the environment over one split.

    Args:
        settings: settings of the run.
        dataset: the data.
        split: one of its splits.
        tokenizer: use this tokenizer instead of the one that the settings name.
        learning: whether the environment is for training instead of evaluation.
    """
    task = find_task(settings.env.id)
    given = {key: value for key, value in asdict(settings.env).items() if key not in _NOT_ARGUMENTS}
    options = task.Options(**{option.name: given.pop(option.name) for option in fields(task.Options)})
    arguments = {key: value for key, value in given.items() if value is not None}
    algorithm = find_algorithm(settings.algo)
    if not learning:
        options = task.whole(options)
    elif algorithm.family == "supervised":
        options = task.learned_from(options)
    arguments |= asdict(options)
    taken = {"group_size": 1, **algorithm.env_arguments}
    if not learning:
        taken |= {"unit": "sequence", "group_size": 1, **task.evaluated_in(options)}
    elif algorithm.family == "policy gradient":
        taken |= task.explored_in(options)
    if learning and settings.env.group_size is not None:
        taken["group_size"] = settings.env.group_size
    env = gymnasium.make_vec(
        settings.env.id,
        num_envs=settings.env.num_envs * taken["group_size"] if learning else settings.evaluation.num_envs,
        vectorization_mode="vector_entry_point",
        dataset=dataset,
        split=split,
        tokenizer=tokenizer or tokenizer_of(settings),
        sampling=settings.env.sampling if learning else "sequential",
        autoreset_mode="SameStep",
        **arguments,
        **taken,
    )
    assert isinstance(env, TextVectorEnv)
    return env


def make_agent(settings: Settings, env: TextVectorEnv, model: str | None = None) -> TextAlgorithm:
    """Create a new agent.

    Args:
        settings: settings of the run.
        env: the environment for training.
        model: start from this checkpoint instead of the model that the settings name.
    """
    policy = _policy_arguments(settings, model)
    return find_algorithm(settings.algo)(
        "LMPolicy",
        env,
        policy_kwargs=policy,
        seed=settings.seed,
        device=settings.device,
        **settings.agent,
    )


def make_policy(settings: Settings, env: TextVectorEnv, model: str, *, tokens: int | None = None) -> LMPolicy:
    """Load the policy of a checkpoint for an environment that its algorithm may be unable to learn from.

    Args:
        settings: settings of the run.
        env: the environment.
        model: the folder of the checkpoint.
        tokens: maximum number of sub-tokens of a text; None for that of the environment.
    """
    space = env.single_observation_space
    policy = LMPolicy(
        space if tokens is None else longer(space, tokens),
        env.single_action_space,
        lambda _: 0.0,
        **env.task.policy_arguments,
        **_policy_arguments(settings, model),
    )
    policy.check_tokenizer(env.task.tokenizer)
    return policy.to(get_device(settings.device))


def _policy_arguments(settings: Settings, model: str | None) -> dict[str, Any]:
    policy: dict[str, Any] = {**settings.policy, **({} if model is None else {"model": model})}
    if settings.env.tokenizer is not None and Path(settings.env.tokenizer).is_dir():
        policy["tokenizer"] = settings.env.tokenizer  # it is saved in the checkpoints
    return policy


def tokenizer_of(settings: Settings) -> str:
    """Find where the environment's tokenizer is loaded from.

    Raises:
        SettingsError: if the model is a configuration and no tokenizer is given.
    """
    model = settings.policy["model"]
    tokenizer = settings.env.tokenizer or model
    if not isinstance(tokenizer, str):
        raise SettingsError("policy.model is a configuration, which has no tokenizer: set env.tokenizer")
    return tokenizer
