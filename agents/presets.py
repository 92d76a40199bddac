"""BlackBox by the names of its optimizers: each a default optimizer, search space and settings, nothing else."""

from __future__ import annotations

from agents.black_box import BlackBox, Preset


class ES(BlackBox):
    """OpenAI-ES over the head: antithetic Gaussian pairs, centred ranks, Adam (`agents.ask_tell.es`)."""

    preset = Preset("es", "head")


class SNES(BlackBox):
    """Separable natural evolution strategy over the head (`agents.ask_tell.snes`)."""

    preset = Preset("snes", "head")


class CMAES(BlackBox):
    """Full CMA-ES, over a soft prompt of few numbers or a small head (`agents.ask_tell.cma_es`)."""

    preset = Preset("cma_es", "head")


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

    preset = Preset("sa", "head")


class MeZO(BlackBox):
    """Antithetic SPSA over all weights, its noise regenerated from counters (`agents.ask_tell.mezo`)."""

    preset = Preset("mezo", "full")


class LowRankES(BlackBox):
    """Evolution strategy over all weights with low-rank noise (`agents.ask_tell.low_rank_es`)."""

    preset = Preset("low_rank_es", "full")


class RandomSearch(BlackBox):
    """The best of random members: the row to beat (`agents.ask_tell.random_search`)."""

    preset = Preset("random_search", "head")


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
