"""BlackBox by the names of its optimizers: each a default optimizer, space and settings, nothing else.

The settings were chosen by validation on the builtin named entities, for a fresh head on the shipped model. Other
spaces are an argument away; the optimizer's own defaults hold for another optimizer than the preset's.
"""

from __future__ import annotations

from lm_gym.agents.algorithms.black_box import BlackBox, Preset


class ES(BlackBox):
    """OpenAI-ES over the head: antithetic Gaussian pairs, z-scores, Adam, averaged means (`search.optimizers.es`)."""

    preset = Preset(
        "es", "head", {"popsize": 256, "sigma": 0.1, "learning_rate": 0.05, "shaping": "z_scores", "averaging": 0.98}
    )


class SNES(BlackBox):
    """Separable natural evolution strategy over the head (`search.optimizers.snes`)."""

    preset = Preset("snes", "head", {"popsize": 256, "sigma": 0.3})


class CMAES(BlackBox):
    """Full CMA-ES over the head (`search.optimizers.cma_es`)."""

    preset = Preset("cma_es", "head", {"popsize": 64, "sigma": 0.2})


class PSO(BlackBox):
    """Particle swarm over the head (`search.optimizers.pso`)."""

    preset = Preset("pso", "head", {"inertia": "linear"})


class GA(BlackBox):
    """Genetic algorithm over the head (`search.optimizers.ga`)."""

    preset = Preset("ga", "head", {"selection": "truncation", "spread": 0.3})


class DE(BlackBox):
    """Differential evolution over the head (`search.optimizers.de`)."""

    preset = Preset("de", "head", {"spread": 0.1})


class SA(BlackBox):
    """Simulated annealing over the head (`search.optimizers.sa`)."""

    preset = Preset("sa", "head", {"popsize": 8, "step": 0.03})


class MeZO(BlackBox):
    """Antithetic SPSA over the head, its noise regenerated from counters (`search.optimizers.mezo`)."""

    preset = Preset("mezo", "head", {"popsize": 128, "sigma": 0.1, "learning_rate": 3.0})


class LowRankES(BlackBox):
    """Evolution strategy over the head with low-rank noise (`search.optimizers.low_rank_es`)."""

    preset = Preset("low_rank_es", "head", {"popsize": 256, "sigma": 0.05, "learning_rate": 0.05, "rule": "adam"})


class CRFMNES(BlackBox):
    """Natural evolution strategy with one long axis and a step size for every entry (`search.optimizers.cr_fm_nes`)."""

    preset = Preset("cr_fm_nes", "head", {"popsize": 256, "sigma": 0.3})


class PGPE(BlackBox):
    """Policy gradients with parameter-based exploration over the head (`search.optimizers.pgpe`)."""

    preset = Preset("pgpe", "head", {"popsize": 256, "sigma": 0.1, "learning_rate": 0.05, "shaping": "z_scores"})


class ARS(BlackBox):
    """Augmented random search over the head: the best half of antithetic directions (`search.optimizers.ars`)."""

    preset = Preset("ars", "head", {"popsize": 256, "sigma": 0.1})


class FZOO(BlackBox):
    """One-sided random signs over the head, steps in units of the fitness's deviation (`search.optimizers.fzoo`)."""

    preset = Preset("fzoo", "head", {"popsize": 130, "directions": 64, "sigma": 0.1, "learning_rate": 0.05})


class LOZO(BlackBox):
    """SPSA over the head in a column space that stays for a while, with momentum (`search.optimizers.lozo`)."""

    preset = Preset("lozo", "head", {"popsize": 128, "momentum": 0.9, "sigma": 0.1, "learning_rate": 0.05})


class SubZero(BlackBox):
    """SPSA over the head in random subspaces that stay for a while (`search.optimizers.subzero`)."""

    preset = Preset("subzero", "head", {"popsize": 128, "sigma": 0.1, "learning_rate": 0.05})


class HiZOO(BlackBox):
    """SPSA over the head, shaped by a diagonal estimate of the curvature (`search.optimizers.hizoo`)."""

    preset = Preset("hizoo", "head", {"popsize": 126, "sigma": 0.1, "learning_rate": 3.0})


class ZOSGD(BlackBox):
    """Zeroth-order SGD over the head with momentum, Adam, R-AdaZO or signs (`search.optimizers.zo_sgd`)."""

    preset = Preset("zo_sgd", "head", {"popsize": 128, "sigma": 0.1, "rule": "adam"})


class RandomSearch(BlackBox):
    """The best of random members: the row to beat (`search.optimizers.random_search`)."""

    preset = Preset("random_search", "head", {"popsize": 64})


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
