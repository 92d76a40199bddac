"""Presets of BlackBox under the names of their optimizers. Each preset is only a default optimizer and search space.

The default settings are in `defaults.TABLE`. The argument `search_space` selects another space. An optimizer other than
the preset's has its own defaults.
"""

from __future__ import annotations

from lm_gym.agents.algorithms.black_box import BlackBox, Preset
from lm_gym.tasks import Task


class ES(BlackBox):
    """OpenAI-ES over the head: antithetic Gaussian pairs, z-scores, Adam, averaged means (`search.optimizers.es`)."""

    preset = Preset("es", "head")


class SNES(BlackBox):
    """Separable natural evolution strategy over the head (`search.optimizers.snes`)."""

    preset = Preset("snes", "head")


class CMAES(BlackBox):
    """Full CMA-ES over the head (`search.optimizers.cma_es`)."""

    preset = Preset("cma_es", "head")


class PSO(BlackBox):
    """Particle swarm over the head (`search.optimizers.pso`)."""

    preset = Preset("pso", "head")


class GA(BlackBox):
    """Genetic algorithm over the head (`search.optimizers.ga`)."""

    preset = Preset("ga", "head")


class DE(BlackBox):
    """Differential evolution over the head (`search.optimizers.de`)."""

    preset = Preset("de", "head")


class SA(BlackBox):
    """Simulated annealing over the head (`search.optimizers.sa`)."""

    preset = Preset("sa", "head")


class MeZO(BlackBox):
    """Antithetic SPSA over the head with noise regenerated from counters (`search.optimizers.mezo`)."""

    preset = Preset("mezo", "head")


class LowRankES(BlackBox):
    """Evolution strategy over the head with low-rank noise (`search.optimizers.low_rank_es`)."""

    preset = Preset("low_rank_es", "head")


class CRFMNES(BlackBox):
    """Natural evolution strategy with one long axis and a step size for every entry (`search.optimizers.cr_fm_nes`)."""

    preset = Preset("cr_fm_nes", "head")


class PGPE(BlackBox):
    """Policy gradients with parameter-based exploration over the head (`search.optimizers.pgpe`)."""

    preset = Preset("pgpe", "head")


class ARS(BlackBox):
    """Augmented random search over the head: the best half of antithetic directions (`search.optimizers.ars`)."""

    preset = Preset("ars", "head")


class FZOO(BlackBox):
    """One-sided random signs over the head, steps in units of the fitness's deviation (`search.optimizers.fzoo`)."""

    preset = Preset("fzoo", "head")


class LOZO(BlackBox):
    """SPSA over the head in a column space fixed for several generations, with momentum (`search.optimizers.lozo`)."""

    preset = Preset("lozo", "head")


class SubZero(BlackBox):
    """SPSA over the head in random subspaces fixed for several generations (`search.optimizers.subzero`)."""

    preset = Preset("subzero", "head")


class HiZOO(BlackBox):
    """SPSA over the head, shaped by a diagonal estimate of the curvature (`search.optimizers.hizoo`)."""

    preset = Preset("hizoo", "head")


class ZOSGD(BlackBox):
    """Zeroth-order SGD over the head with momentum, Adam, R-AdaZO or signs (`search.optimizers.zo_sgd`)."""

    preset = Preset("zo_sgd", "head")


class RandomSearch(BlackBox):
    """The best of random members, a baseline (`search.optimizers.random_search`).

    Random members differ in many choices, so their fitness need not be smooth. By default it is the task's metric if a
    reward pays this (`Task.metric_reward`).
    """

    preset = Preset("random_search", "head")

    @classmethod
    def reward_for(cls, task: type[Task]) -> str:
        """See TextAlgorithm."""
        return task.metric_reward or super().reward_for(task)


PRESETS: dict[str, type[BlackBox]] = {
    "es": ES,
    "snes": SNES,
    "cmaes": CMAES,
    "pso": PSO,
    "ga": GA,
    "de": DE,
    "sa": SA,
    "mezo": MeZO,
    "low_rank_es": LowRankES,
    "cr_fm_nes": CRFMNES,
    "pgpe": PGPE,
    "ars": ARS,
    "fzoo": FZOO,
    "lozo": LOZO,
    "subzero": SubZero,
    "hizoo": HiZOO,
    "zo_sgd": ZOSGD,
    "random_search": RandomSearch,
}
