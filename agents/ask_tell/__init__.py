"""Gradient-free optimizers behind one ask/tell contract, by name: OPTIMIZERS."""

from agents.ask_tell.cma_es import CMAES
from agents.ask_tell.de import DE
from agents.ask_tell.es import ES
from agents.ask_tell.ga import GA
from agents.ask_tell.low_rank_es import LowRankES
from agents.ask_tell.mezo import MeZO
from agents.ask_tell.optimizer import Optimizer
from agents.ask_tell.pso import PSO
from agents.ask_tell.random_search import RandomSearch
from agents.ask_tell.sa import SA
from agents.ask_tell.sep_cma_es import SepCMAES
from agents.ask_tell.snes import SNES

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "es": ES,
    "snes": SNES,
    "sep_cma_es": SepCMAES,
    "cma_es": CMAES,
    "pso": PSO,
    "ga": GA,
    "de": DE,
    "sa": SA,
    "mezo": MeZO,
    "low_rank_es": LowRankES,
    "random_search": RandomSearch,
}
