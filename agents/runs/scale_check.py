"""A check that the first generations of a gradient-free search take steps of a sensible size."""

from __future__ import annotations

import math
import warnings

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.policy import LMPolicy
from lm_gym.agents.search.population.precision import Precision

GENERATIONS, TEXTS = 10, 8  # number of generations to check
# Relative differences in fitness between members that differ only by rounding, by the precision of forward passes.
# In bfloat16, a member's fitness on one text has an error of about 0.0013 (benchmarks/precision.py).
ROUNDING: dict[Precision, float] = {"float32": 1e-6, "bfloat16": 1e-3}
FAR = 2.0  # nats per position that members may lose relative to the policy at their centre
LEAP = 0.5  # nats per position that the policy may move in a generation
CRAWL = 1e-3  # nats per position that the policy must be able to move in the whole budget


class CheckScale(BaseCallback):
    """Warn once, after the first generations of a search over texts, if its step size is far off.

    It plays a few texts with the policy before and after each of these generations. It ignores other algorithms.
    """

    def __init__(self) -> None:
        super().__init__()
        self._obs: dict[str, th.Tensor] | None = None
        self._moves: list[float] = []
        self._spread = self._loss = 0.0

    def _on_rollout_start(self) -> None:
        model, self._obs = self.model, None
        if not isinstance(model, BlackBox) or not isinstance(model.policy, LMPolicy) or model._n_updates >= GENERATIONS:
            return
        obs, _ = model.policy.obs_to_tensor(model._last_obs)
        assert isinstance(obs, dict)
        self._obs = {key: leaf[:TEXTS] for key, leaf in obs.items()}
        self._before = self._play(model.policy)
        self._centre = self._mean_log_likelihood(model, obs) if model._n_updates == 0 else math.nan

    def _on_rollout_end(self) -> None:
        model = self.model
        if self._obs is None:
            return
        assert isinstance(model, BlackBox)
        self._moves.append(divergence(self._before, self._play(model.policy)))
        logged = model.logger.name_to_value
        self._spread = max(self._spread, logged.get("search/fitness_spread", math.inf))
        self._loss = max(self._loss, self._centre - logged.get("search/fitness_mean", math.nan))
        if len(self._moves) == GENERATIONS:
            mean = logged.get("search/fitness_mean", math.nan)
            left = GENERATIONS / model.done if model.done > 0 else math.inf
            for said in advice(self._moves, left, self._spread, mean, self._loss, model.precision):
                warnings.warn(said, stacklevel=2)

    def _on_step(self) -> bool:
        return True

    def _play(self, policy: LMPolicy) -> th.Tensor:
        assert self._obs is not None
        with th.no_grad():
            return policy.positions(self._obs).log_probs

    def _mean_log_likelihood(self, model: BlackBox, obs: dict[str, th.Tensor]) -> float:
        """Return the policy's mean log-likelihood on this generation's texts if that is the fitness; otherwise NaN."""
        assert model.env is not None
        texts = TextEnvironments(model.env)
        if texts.first.reward.name != "log_likelihood" or texts.first.settings.actions != "distribution":
            return math.nan
        total, targets = 0.0, th.as_tensor(texts.targets, device=model.policy.device)
        for start in range(0, len(targets), TEXTS):
            rows = slice(start, start + TEXTS)
            with th.no_grad():
                packed = model.policy.positions({key: leaf[rows] for key, leaf in obs.items()})
            total += packed.log_probs.gather(1, packed.pick(targets[rows])[:, None]).sum().item()
        return total / int(obs["position_mask"].sum())


def divergence(before: th.Tensor, after: th.Tensor) -> float:
    """Return KL(before ‖ after) of log-probabilities [Q, n], averaged over positions; forbidden choices count as 0."""
    change = before - after
    # Σ p (e^-change - 1) = 0, and with it no term is negative, so that rounding errors do not add up.
    terms = before.exp() * (th.expm1(-change) + change)
    return terms.nan_to_num(0.0).sum(-1).mean().item()


def advice(
    moves: list[float],
    generations: float,
    spread: float,
    fitness: float,
    loss: float,
    precision: Precision = "float32",
) -> list[str]:
    """Return advice on what to change if the scale of a search is far off.

    Args:
        moves: how far the policy moved in each of the first generations, as KL divergence in nats per position.
        generations: number of generations in the whole budget.
        spread: the largest standard deviation of the members' fitness.
        fitness: the mean fitness.
        loss: how much less the members earn than the policy at their centre, in nats per position; NaN if unknown.
        precision: precision of the members' forward passes.
    """
    found = []
    if spread <= ROUNDING[precision] * max(1.0, abs(fitness)):
        finer = "" if precision == "float32" else ", or set precision to float32"
        found.append(
            f"members of the search differ in fitness by {spread:.1g}, no more than rounding in {precision}: raise the "
            f"optimizer's sigma (or the space's scale){finer}; a reward that counts correct choices is flat at the "
            "start: use log_likelihood"
        )
        return found
    if loss > FAR:
        found.append(
            f"members of the search earn {loss:.1f} nats per position less than the policy that they perturb: lower "
            "the optimizer's sigma (or the space's scale)"
        )
    mean = sum(moves) / len(moves)
    if mean > LEAP:
        found.append(
            f"the search moves the policy by {mean:.1f} nats per position in a generation (more than {LEAP}): lower "
            "the optimizer's learning_rate (or sigma, step or spread if it has none)"
        )
    elif generations**2 * max(mean, 0.0) < CRAWL:  # a divergence grows with the square of the distance
        found.append(
            f"the search moves the policy by {max(mean, 0.0):.1g} nats per position in a generation, and cannot get "
            f"far in the {generations:.0f} generations of its budget: raise the optimizer's learning_rate (or sigma, "
            "step or spread if it has none)"
        )
    return found
