"""BlackBox by the names of its optimizers: each a default optimizer, space and settings, nothing else.

The settings were chosen by validation on the builtin named entities, for a fresh head on the shipped model. Other
spaces are an argument away; the optimizer's own defaults hold for another optimizer than the preset's.
"""

from __future__ import annotations

from agents.black_box import BlackBox, Preset


class ES(BlackBox):
    """OpenAI-ES over the head: antithetic Gaussian pairs, centred ranks, Adam (`agents.ask_tell.es`)."""

    preset = Preset(
        "es", "head", {"popsize": 64, "sigma": 0.1, "learning_rate": 0.05, "shaping": "z_scores", "averaging": 0.99}
    )


class SNES(BlackBox):
    """Separable natural evolution strategy over the head (`agents.ask_tell.snes`)."""

    preset = Preset("snes", "head", {"popsize": 64, "sigma": 0.2})


class CMAES(BlackBox):
    """Full CMA-ES over the head (`agents.ask_tell.cma_es`)."""

    preset = Preset("cma_es", "head", {"popsize": 64, "sigma": 0.2})


class PSO(BlackBox):
    """Particle swarm over the head (`agents.ask_tell.pso`)."""

    preset = Preset("pso", "head")


class GA(BlackBox):
    """Genetic algorithm over the head (`agents.ask_tell.ga`)."""

    preset = Preset("ga", "head")


class DE(BlackBox):
    """Differential evolution over the head (`agents.ask_tell.de`)."""

    preset = Preset("de", "head")


class SA(BlackBox):
    """Simulated annealing over the head (`agents.ask_tell.sa`)."""

    preset = Preset("sa", "head", {"step": 0.1})


class MeZO(BlackBox):
    """Antithetic SPSA over the head, its noise regenerated from counters (`agents.ask_tell.mezo`)."""

    preset = Preset("mezo", "head", {"popsize": 64, "sigma": 0.2, "learning_rate": 3.0})


class LowRankES(BlackBox):
    """Evolution strategy over the head with low-rank noise (`agents.ask_tell.low_rank_es`)."""

    preset = Preset("low_rank_es", "head", {"sigma": 0.1, "learning_rate": 0.05, "rule": "adam"})


class RandomSearch(BlackBox):
    """The best of random members: the row to beat (`agents.ask_tell.random_search`)."""

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
    "random_search": RandomSearch,
}
