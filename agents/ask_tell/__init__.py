"""Gradient-free optimizers behind one ask/tell contract, by name: OPTIMIZERS."""

from agents.ask_tell.optimizer import Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {}
