"""Ray workers for the run of a gradient-free algorithm."""

from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from lm_gym.agents.algorithms.black_box import PLAYED, BlackBox
from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.runs.settings import RaySettings, SettingsError


def check_workers(settings: RaySettings, algo: str, algorithm: type[Any]) -> None:
    """Raise SettingsError if workers are requested that the algorithm cannot use, or Ray is not installed."""
    if settings.workers is None:
        given = {name for name, value in vars(settings).items() if value != getattr(RaySettings, name)}
        if given:
            raise SettingsError(f"ray.{min(given)} is set without workers: set ray.workers, the number of workers")
    elif not issubclass(algorithm, BlackBox):
        others = ", ".join(name for name, kind in ALGORITHMS.items() if issubclass(kind, BlackBox))
        raise SettingsError(
            f"ray.workers evaluate the population of a gradient-free algorithm, and {algo} has none: leave it out, or "
            f"take one of {others}"
        )
    elif find_spec("ray") is None:
        raise SettingsError('ray.workers needs Ray, which is not installed: pip install "lm-gym[ray]"')


def use_workers(settings: RaySettings, agent: Any, held: ExitStack) -> None:
    """Evaluate an agent's population on Ray workers, if the settings request them, until `held` is closed.

    Raises:
        EvaluationError: there is no such cluster.
        SettingsError: members are played one after another.
    """
    if settings.workers is None:
        return
    if not agent.evaluates_together:
        raise SettingsError(f"ray.workers: {PLAYED}; leave it out")
    from lm_gym.agents.algorithms.ray_evaluator import RayEvaluator

    gpus = float(agent.device.type != "cpu") if settings.gpus is None else settings.gpus
    evaluator = RayEvaluator(settings.workers, settings.address, gpus=gpus, checksum_every=settings.checksum_every)
    agent.evaluator = held.enter_context(evaluator)
