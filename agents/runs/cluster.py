"""Ray workers for a run: they evaluate a population, encode a batch, or draw rollouts."""

from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

from lm_gym.agents.algorithms.registry import ALGORITHMS
from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm
from lm_gym.agents.runs.settings import RaySettings, SettingsError


def check_workers(settings: RaySettings, algo: str, algorithm: type[TextAlgorithm]) -> None:
    """Raise SettingsError if workers are requested that the algorithm cannot use, or Ray is not installed."""
    if settings.workers is None and settings.rollout_workers is None:
        given = {name for name, value in vars(settings).items() if value != getattr(RaySettings, name)}
        if given:
            raise SettingsError(f"ray.{min(given)} is set without workers: set ray.workers or ray.rollout_workers")
    elif settings.workers is not None and settings.rollout_workers is not None:
        raise SettingsError(
            "ray.workers share a batch, which ray.rollout_workers leave to one process: give one of them"
        )
    elif settings.rollout_workers is not None and not algorithm.plays_apart:
        others = ", ".join(name for name, kind in ALGORITHMS.items() if kind.plays_apart)
        raise SettingsError(
            f"ray.rollout_workers draw samples with older weights, which {algo} cannot learn from: leave it out, or "
            f"take {others}"
        )
    elif settings.workers is not None and algorithm.shared is None:
        others = ", ".join(name for name, kind in ALGORITHMS.items() if kind.shared is not None)
        raise SettingsError(
            f"ray.workers share a batch or a population, but {algo} learns from rollouts, which they cannot share: "
            f"leave ray.workers out, or use one of {others}"
        )
    elif find_spec("ray") is None:
        name = "rollout_workers" if settings.workers is None else "workers"
        raise SettingsError(f'ray.{name} needs Ray, which is not installed: pip install "lm-gym[ray]"')


def use_workers(settings: RaySettings, agent: Any, held: ExitStack) -> None:
    """Have Ray workers share an agent's work, if the settings request them, until `held` is closed.

    Raises:
        WorkerError: there is no such cluster.
        SettingsError: texts are not decided at once, there are fewer of them than workers, or no samples are drawn.
    """
    gpus = float(agent.device.type != "cpu") if settings.gpus is None else settings.gpus
    if settings.rollout_workers is not None:
        if agent.unsampled is not None:
            raise SettingsError(f"ray.rollout_workers draw samples, but {agent.unsampled}; or leave it out")
        from lm_gym.agents.algorithms.ray_rollouts import RayRollouts

        agent.rollouts = held.enter_context(RayRollouts(settings.rollout_workers, settings.address, gpus=gpus))
    if settings.workers is None:
        return
    if not agent.decides_at_once:
        raise SettingsError(
            "ray.workers need texts that one step decides, but these take several: leave ray.workers out"
        )
    from lm_gym.agents.algorithms.ray_batch_sharing import RayBatchSharing
    from lm_gym.agents.algorithms.ray_evaluator import RayEvaluator

    given: dict[str, Any] = {"gpus": gpus, "checksum_every": settings.checksum_every}
    if agent.shared == "population":
        agent.evaluator = held.enter_context(RayEvaluator(settings.workers, settings.address, **given))
    elif agent.env.num_envs < settings.workers:
        raise SettingsError(
            f"ray.workers={settings.workers} share the {agent.env.num_envs} texts of a batch: give fewer workers, or a "
            "larger env.num_envs"
        )
    else:
        agent.sharing = held.enter_context(RayBatchSharing(settings.workers, settings.address, **given))
