"""Whether a gradient-free search moves by steps of a sensible size, seen in its first generations."""

from __future__ import annotations

import math
import warnings

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from lm_gym.agents.algorithms.black_box import BlackBox
from lm_gym.agents.algorithms.text_environments import TextEnvironments
from lm_gym.agents.model.policy import LMPolicy

GENERATIONS, TEXTS = 10, 8  # that are looked at
ROUNDING = 1e-6  # of fitness, relative: what members differ by when they are the same but for float32
FAR = 2.0  # nats a position that members may lose to the policy around which they lie
LEAP = 0.5  # nats a position that the policy may move in a generation
CRAWL = 1e-3  # nats a position that the policy must be able to move in the whole budget


class CheckScale(BaseCallback):
    """Warns once, after the first generations of a search over texts, where its step size is far off.

    It plays a few texts by the policy before and after each of these generations. Other algorithms are left alone.
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
            for said in advice(self._moves, left, self._spread, mean, self._loss):
                warnings.warn(said, stacklevel=2)

    def _on_step(self) -> bool:
        return True

    def _play(self, policy: LMPolicy) -> th.Tensor:
        assert self._obs is not None
        with th.no_grad():
            return policy.positions(self._obs).log_probs

    def _mean_log_likelihood(self, model: BlackBox, obs: dict[str, th.Tensor]) -> float:
        """Of the policy on the texts of this generation, where that is what fitness is; NaN elsewhere."""
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
    """KL(before ‖ after) of log-probabilities [Q, n], mean over the positions; what both forbid counts nothing."""
    change = before - after
    terms = before.exp() * (
        th.expm1(-change) + change
    )  # Σ p (e^-d - 1) = 0; no term is negative, so rounding adds less
    return terms.nan_to_num(0.0).sum(-1).mean().item()


def advice(moves: list[float], generations: float, spread: float, fitness: float, loss: float) -> list[str]:
    """What to change where a search's scale is far off.

    Args:
        moves: by how much the policy moved in each of the first generations, KL divergence in nats a position.
        generations: of the whole budget.
        spread: the largest standard deviation of the members' fitness.
        fitness: its mean.
        loss: how much less members earn than the policy around which they lie, in nats a position; NaN: not known.
    """
    found = []
    if spread <= ROUNDING * max(1.0, abs(fitness)):
        found.append(
            f"members of the search differ in fitness by {spread:.1g}, no more than rounding: raise the optimizer's "
            "sigma (or the space's scale); a reward that counts right choices is flat where a model begins: take "
            "log_likelihood"
        )
        return found
    if loss > FAR:
        found.append(
            f"members of the search earn {loss:.1f} nats a position less than the policy around which they lie: lower "
            "the optimizer's sigma (or the space's scale)"
        )
    mean = sum(moves) / len(moves)
    if mean > LEAP:
        found.append(
            f"the search moves the policy by {mean:.1f} nats a position in a generation, {LEAP} is much: lower the "
            "optimizer's learning_rate (sigma, step or spread where it has none)"
        )
    elif generations**2 * max(mean, 0.0) < CRAWL:  # a divergence grows as the square of the way
        found.append(
            f"the search moves the policy by {max(mean, 0.0):.1g} nats a position in a generation, and cannot get far "
            f"in the {generations:.0f} generations of its budget: raise the optimizer's learning_rate (sigma, step or "
            "spread where it has none)"
        )
    return found
