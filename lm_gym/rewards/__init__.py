"""Rewards of decisions, given the gold choices."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lm_gym.bounds import check_arguments
from lm_gym.naming import among
from lm_gym.registry import Registry
from lm_gym.rewards.accuracy import Accuracy
from lm_gym.rewards.board import Board, Decision, Step
from lm_gym.rewards.choices import ChoiceRewards, Choices, GoldError
from lm_gym.rewards.compose import AtTheEnd, FunctionReward, RewardFunction, WeightedSum
from lm_gym.rewards.cost import Cost
from lm_gym.rewards.discounted_gain import DiscountedGain
from lm_gym.rewards.entity_f1 import EntityF1
from lm_gym.rewards.exact_match import ExactMatch
from lm_gym.rewards.label_f1 import LabelF1
from lm_gym.rewards.log_likelihood import LogLikelihood
from lm_gym.rewards.macro_f1 import MacroF1
from lm_gym.rewards.relevance import Relevance
from lm_gym.rewards.reward import Reward, Separable, Track
from lm_gym.rewards.rule import Rule

__all__ = [
    "REWARDS",
    "Accuracy",
    "AtTheEnd",
    "Board",
    "ChoiceRewards",
    "Choices",
    "Cost",
    "Decision",
    "DiscountedGain",
    "EntityF1",
    "ExactMatch",
    "FunctionReward",
    "GoldError",
    "LabelF1",
    "LogLikelihood",
    "MacroF1",
    "Relevance",
    "Reward",
    "RewardFunction",
    "RewardSpec",
    "Rule",
    "Separable",
    "Step",
    "Track",
    "WeightedSum",
    "bind_reward",
    "make_reward",
    "makes_reward",
    "register_reward",
]

REWARDS: Registry[Callable[..., Any]] = Registry(
    "reward",
    {
        "accuracy": Accuracy,
        "balanced_accuracy": partial(Accuracy, weights="balanced"),
        "cost": Cost,
        "discounted_gain": partial(DiscountedGain, normalize=False),
        "exact_match": ExactMatch,
        "f1": EntityF1,
        "label_f1": LabelF1,
        "log_likelihood": LogLikelihood,
        "macro_f1": MacroF1,
        "ndcg": DiscountedGain,
        "relevance": Relevance,
        "rule": Rule,
    },
)
"""Reward classes, factories of rewards, and reward functions, by name."""

RewardSpec = str | Mapping[str, float] | Reward | RewardFunction


def register_reward(name: str, reward: Callable[..., Any]) -> Callable[..., Any]:
    """Register a reward for `reward="name"` and `--env.reward my_module:name`.

    Args:
        name: its name, without a colon.
        reward: a `Reward` class, whose arguments are `reward_kwargs`, or a function (see `FunctionReward`).

    Raises:
        ValueError: the name is already taken.
    """
    return REWARDS.register(name, reward)


def bind_reward(reward: Reward, choices: Choices) -> Reward:
    """Return a copy of a reward, bound to a task.

    Raises:
        ValueError: the reward does not suit the task; the message names rewards that do.
    """
    try:
        return reward.bind(choices)
    except GoldError as error:
        fitting = [
            name for name, make in REWARDS.items() if makes_reward(make) and make().gold & (choices.gold or set())
        ]
        raise ValueError(f"{error}: use {' or '.join(map(repr, fitting)) or 'a function of your own'}") from None


def make_reward(reward: RewardSpec, arguments: Mapping[str, Any] | None = None) -> Reward:
    """Create a reward from its specification.

    Args:
        reward: a name in `REWARDS`, a mapping {name: weight}, a `Reward`, or a function (see `FunctionReward`).
        arguments: keyword arguments of the named reward; for a mapping, {name: {argument: value}}.

    Raises:
        ValueError: a name or an argument is unknown, or the reward does not accept arguments.
    """
    given = dict(arguments or {})
    if isinstance(reward, str):
        return _named(reward, given)
    if isinstance(reward, Mapping):
        for name in given:
            if name not in reward:
                raise ValueError(f"reward_kwargs for {name!r}, which is not part of the reward{among(name, reward)}")
        return WeightedSum({name: (_named(name, given.get(name, {})), weight) for name, weight in reward.items()})
    if given:
        raise ValueError(f"reward_kwargs={given} need the name of a reward: pass them to {reward!r} directly")
    if isinstance(reward, Reward):
        return reward
    if callable(reward):
        return FunctionReward(reward)
    raise ValueError(f"reward={reward!r} must be a name, a mapping {{name: weight}}, a Reward or a function")


def _named(name: str, arguments: Mapping[str, Any]) -> Reward:
    make = REWARDS.find(name)
    if not makes_reward(make):
        if arguments:
            raise ValueError(f"reward {name!r} is a function and accepts no reward_kwargs, got {dict(arguments)}")
        return FunctionReward(make, name.rpartition(":")[2])
    check_arguments(make.func if isinstance(make, partial) else make, arguments, "reward_kwargs.")
    try:
        reward: Reward = make(**arguments)
    except TypeError as error:
        raise ValueError(f"reward {name!r} does not accept reward_kwargs={dict(arguments)}: {error}") from error
    return reward


def makes_reward(make: Callable[..., Any]) -> bool:
    """Return whether an entry of `REWARDS` creates a reward when called, instead of being a reward function."""
    kind = make.func if isinstance(make, partial) else make
    return isinstance(kind, type) and issubclass(kind, Reward)
