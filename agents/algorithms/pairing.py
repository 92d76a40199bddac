"""The estimator that suits a reward: the meaning of `"auto"` in REINFORCE and PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

from lm_gym.agents.algorithms.behaviours import Behaviour
from lm_gym.agents.algorithms.estimators import Advantage, Baseline
from lm_gym.rewards import Reward

A = TypeVar("A", bound=str)  # names of advantages, of REINFORCE or of PPO

FEW = 16  # samples per position; rewards of no more choices are sampled too


@dataclass(frozen=True)
class Estimator(Generic[A]):
    """The way in which rewards become a gradient.

    Attributes:
        gamma: γ.
        advantage: a name in `estimators.Advantage`, or PPO's.
        log_scale: whether returns are logarithms of likelihoods, so that exp(G) is maximised.
        alone: whether a position is credited with its own reward only: the reward is separable and γ is 0.
    """

    gamma: float
    advantage: A
    log_scale: bool
    alone: bool


@dataclass(frozen=True)
class EstimatorArguments:
    """The arguments of REINFORCE that decide how it learns from a reward; each can be `"auto"` (see `REINFORCE`)."""

    samples: int | Literal["auto", "all"]
    gamma: float | Literal["auto"]
    baseline: Baseline | Literal["auto"]
    advantage: Advantage | Literal["auto"]
    behaviour: Behaviour | Literal["auto"]


@dataclass(frozen=True)
class Plan:
    """The way in which REINFORCE learns from a reward.

    Attributes:
        estimator: how rewards become a gradient.
        baseline: a name in `estimators.Baseline`.
        behaviour: a name in `behaviours.Behaviour`.
        samples: K; None to use every choice in closed form, without samples.
    """

    estimator: Estimator[Advantage]
    baseline: Baseline
    behaviour: Behaviour
    samples: int | None


def pair(reward: Reward, gamma: float | Literal["auto"], advantage: A | Literal["auto"], otherwise: A) -> Estimator[A]:
    """Return γ and the advantage for a reward: the given values, or decisions for `"auto"`.

    γ is 0 if the reward of a position depends only on its own choice, else 1. The advantage is `maximum_likelihood` if
    such rewards are also never negative, or are logarithms of likelihoods.

    Args:
        reward: the reward of the environment.
        gamma: γ, or `"auto"`.
        advantage: a name, or `"auto"`.
        otherwise: the advantage for all other rewards.

    Raises:
        ValueError: `maximum_likelihood` is given for a reward that can be negative and is not a logarithm.
    """
    likelihood = reward.log_scale or reward.minimum >= 0
    if gamma == "auto":
        gamma = 0.0 if reward.separable else 1.0
    if advantage == "auto":
        advantage = cast("A", "maximum_likelihood") if reward.separable and likelihood else otherwise
    if advantage == "maximum_likelihood" and not likelihood:
        raise ValueError(
            f"advantage 'maximum_likelihood' divides by the mean reward, and reward {reward.name!r} can be as low as "
            f"{reward.minimum}: use advantage={otherwise!r}, or a reward that is never negative (accuracy, or f1 with "
            "dense=False) or says that it is a logarithm (log_scale)"
        )
    log_scale = reward.log_scale and advantage == "maximum_likelihood"
    return Estimator(float(gamma), advantage, log_scale, reward.separable and gamma == 0.0)


def plan(asked: EstimatorArguments, reward: Reward, num_choices: int) -> Plan:
    """Return how REINFORCE learns from a reward: the given values, or decisions for `"auto"`.

    Every choice is used, without samples, if the reward is separable and γ is 0, the reward gives the reward of each
    choice, and there are more than `FEW` choices. Otherwise, `FEW` samples are drawn at each position; if the advantage
    divides them by their mean, they come from the mixture, which keeps sampling rare choices.

    Args:
        asked: the arguments.
        reward: the reward of the environment.
        num_choices: n.

    Raises:
        ValueError: the combination is meaningless.
    """
    samples, baseline, behaviour = asked.samples, asked.baseline, asked.behaviour
    estimator: Estimator[Advantage] = pair(reward, asked.gamma, asked.advantage, "plain")
    told = estimator.alone and reward.enumerable
    undecided = baseline == "auto" and behaviour == "auto"
    if samples == "all":
        if not estimator.alone:
            raise ValueError(
                f"samples='all' treats each position by itself, but reward {reward.name!r} with gamma "
                f"{estimator.gamma} ties positions together: give a number of samples"
            )
        if not undecided:
            raise ValueError(
                f"samples='all' draws nothing, so it uses no baseline and no behaviour: leave baseline={baseline!r} "
                f"and behaviour={behaviour!r} at 'auto', or give a number of samples"
            )
        if not told:
            return Plan(estimator, "leave_one_out", "without_replacement", num_choices)
    if samples == "all" or (samples == "auto" and told and undecided and num_choices > FEW):
        return Plan(estimator, "none", "policy", None)
    number = FEW if samples == "auto" else samples
    if number == 1 and estimator.log_scale:
        raise ValueError(
            f"advantage 'maximum_likelihood' divides a likelihood by its mean over the samples, and a single sample of "
            f"reward {reward.name!r} is its own mean: use samples=2 or more, or 'all'"
        )
    if baseline == "auto":
        baseline = "leave_one_out" if number > 1 else "moving_average"
    if behaviour == "auto":
        wider = estimator.advantage == "maximum_likelihood" and estimator.alone
        behaviour = "mixture" if wider else "policy"
    return Plan(estimator, baseline, behaviour, number)


def pair_steps(asked: EstimatorArguments, reward: Reward) -> Estimator[Advantage] | None:
    """Return the estimator for episodes of single steps at which every choice counts; None if one sample counts."""
    if isinstance(asked.samples, int) or asked.baseline != "auto" or asked.behaviour != "auto":
        return None
    if not (reward.enumerable and (asked.gamma == "auto" or asked.gamma == 0.0)):
        return None
    return pair(reward, asked.gamma, asked.advantage, "plain")


def check_episodes(asked: EstimatorArguments, *, grouped: bool) -> None:
    """Refuse arguments that need several samples of each step.

    Args:
        asked: the arguments.
        grouped: whether several rows play the same text.

    Raises:
        ValueError: the message says what to use.
    """
    if (
        asked.samples == "all"
        or asked.baseline not in ("auto", "none", "moving_average", "value", *["leave_one_out"] * grouped)
        or asked.advantage not in ("auto", "plain", "normalized")
        or asked.behaviour not in ("auto", "policy")
    ):
        raise ValueError(
            f"samples={asked.samples!r}, baseline={asked.baseline!r}, advantage={asked.advantage!r}, "
            f"behaviour={asked.behaviour!r}: episodes of single steps have one sample of each choice; use "
            "baseline='value' (or, with a group_size above 1, 'leave_one_out'), advantage='plain' or 'normalized', "
            "behaviour='policy', or make the environment with unit='sequence'"
        )
