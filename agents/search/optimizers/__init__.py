"""Gradient-free optimizers with a common ask/tell interface, by name: OPTIMIZERS."""

from lm_gym.agents.search.optimizers.ars import ARS
from lm_gym.agents.search.optimizers.cma_es import CMAES
from lm_gym.agents.search.optimizers.cr_fm_nes import CRFMNES
from lm_gym.agents.search.optimizers.de import DE
from lm_gym.agents.search.optimizers.es import ES
from lm_gym.agents.search.optimizers.fzoo import FZOO
from lm_gym.agents.search.optimizers.ga import GA
from lm_gym.agents.search.optimizers.hizoo import HiZOO
from lm_gym.agents.search.optimizers.low_rank_es import LowRankES
from lm_gym.agents.search.optimizers.lozo import LOZO
from lm_gym.agents.search.optimizers.mezo import MeZO
from lm_gym.agents.search.optimizers.optimizer import Optimizer
from lm_gym.agents.search.optimizers.pgpe import PGPE
from lm_gym.agents.search.optimizers.pso import PSO
from lm_gym.agents.search.optimizers.random_search import RandomSearch
from lm_gym.agents.search.optimizers.sa import SA
from lm_gym.agents.search.optimizers.sep_cma_es import SepCMAES
from lm_gym.agents.search.optimizers.snes import SNES
from lm_gym.agents.search.optimizers.subzero import SubZero
from lm_gym.agents.search.optimizers.zo_sgd import ZOSGD
from lm_gym.registry import Registry, class_registrar

_ENTRIES: dict[str, type[Optimizer]] = {
    "es": ES,
    "snes": SNES,
    "sep_cma_es": SepCMAES,
    "cr_fm_nes": CRFMNES,
    "cma_es": CMAES,
    "pgpe": PGPE,
    "ars": ARS,
    "pso": PSO,
    "ga": GA,
    "de": DE,
    "sa": SA,
    "mezo": MeZO,
    "low_rank_es": LowRankES,
    "fzoo": FZOO,
    "lozo": LOZO,
    "zo_sgd": ZOSGD,
    "subzero": SubZero,
    "hizoo": HiZOO,
    "random_search": RandomSearch,
}
OPTIMIZERS = Registry("optimizer", _ENTRIES)
register_optimizer = class_registrar(OPTIMIZERS)
