"""Gradient-free optimizers behind one ask/tell contract, by name: OPTIMIZERS."""

from agents.ask_tell.es import ES
from agents.ask_tell.ga import GA
from agents.ask_tell.optimizer import Optimizer
from agents.ask_tell.random_search import RandomSearch
from agents.ask_tell.sa import SA
from agents.ask_tell.snes import SNES

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "es": ES,
    "snes": SNES,
    "ga": GA,
    "sa": SA,
    "random_search": RandomSearch,
}
