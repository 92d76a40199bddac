"""Agents that train language models on text environments, under Stable-Baselines3's interface.

The packages, in the order in which data flows; each imports only those before it:

    files        atomic writing of files
    model        text → log-probabilities at positions
    search       gradient-free search: optimizers, search spaces, populations
    algorithms   learning: REINFORCE, its supervised twin, PPO, black-box search
    evaluation   evaluating a split: metrics, predictions, reports
    runs         one training run: settings, folder, logs
    compare      many runs under one budget: tables and charts
    monitor      a stream labelled line by line, and alerts

The commands are train, evaluate, predict, play, reply, pretrain, compare and monitor. The names in `__all__` are loaded
when they are first used: `from lm_gym.agents import REINFORCE`. The package is `lm_gym.agents`. A checkout also has it
at its top level, so that `python -m agents.train` works there.
"""

import sys
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names again, for type checkers; a test compares the two lists
    # isort: off
    from lm_gym.agents.algorithms.black_box import BlackBox as BlackBox, Preset as Preset
    from lm_gym.agents.algorithms.gradient_algorithm import GradientAlgorithm as GradientAlgorithm
    from lm_gym.agents.algorithms.maskable import (
        MaskableLMPolicy as MaskableLMPolicy,
        MaskableTextRolloutBuffer as MaskableTextRolloutBuffer,
    )
    from lm_gym.agents.algorithms.ppo import PPO as PPO
    from lm_gym.agents.algorithms.presets import (
        ARS as ARS,
        CMAES as CMAES,
        CRFMNES as CRFMNES,
        DE as DE,
        ES as ES,
        FZOO as FZOO,
        GA as GA,
        LOZO as LOZO,
        PGPE as PGPE,
        PSO as PSO,
        SA as SA,
        SNES as SNES,
        ZOSGD as ZOSGD,
        HiZOO as HiZOO,
        LowRankES as LowRankES,
        MeZO as MeZO,
        RandomSearch as RandomSearch,
        SubZero as SubZero,
    )
    from lm_gym.agents.algorithms.registry import ALGORITHMS as ALGORITHMS, register_algorithm as register_algorithm
    from lm_gym.agents.algorithms.reinforce import REINFORCE as REINFORCE
    from lm_gym.agents.algorithms.supervised import Supervised as Supervised
    from lm_gym.agents.algorithms.text_algorithm import TextAlgorithm as TextAlgorithm
    from lm_gym.agents.algorithms.text_buffer import TextRolloutBuffer as TextRolloutBuffer
    from lm_gym.agents.evaluation.playing import evaluate as evaluate
    from lm_gym.agents.model.policy import LMPolicy as LMPolicy
    from lm_gym.agents.runs.predicting import predict as predict
    from lm_gym.agents.runs.pushing import push_to_hub as push_to_hub
    from lm_gym.agents.search.optimizers import OPTIMIZERS as OPTIMIZERS, register_optimizer as register_optimizer
    from lm_gym.agents.search.optimizers.optimizer import (
        Optimizer as Optimizer,
        StructuredOptimizer as StructuredOptimizer,
        VectorOptimizer as VectorOptimizer,
    )
    from lm_gym.agents.search.population.domain import Block as Block, Domain as Domain
    from lm_gym.agents.search.population.population import (
        Dense as Dense,
        Population as Population,
        Sampled as Sampled,
    )
    from lm_gym.agents.search.spaces import (
        SEARCH_SPACES as SEARCH_SPACES,
        register_search_space as register_search_space,
    )
    from lm_gym.agents.search.spaces.parameters import (
        ParameterSpace as ParameterSpace,
        acting_parameters as acting_parameters,
    )
    from lm_gym.agents.search.spaces.space import SearchSpace as SearchSpace
    # isort: on

_HOME = {
    "algorithms.black_box": ("BlackBox", "Preset"),
    "algorithms.gradient_algorithm": ("GradientAlgorithm",),
    "algorithms.ppo": ("PPO",),
    "algorithms.presets": (
        *("ARS", "CMAES", "CRFMNES", "DE", "ES", "FZOO", "GA", "LOZO", "PGPE", "PSO", "SA", "SNES", "ZOSGD"),
        *("HiZOO", "LowRankES", "MeZO", "RandomSearch", "SubZero"),
    ),
    "algorithms.registry": ("ALGORITHMS", "register_algorithm"),
    "algorithms.reinforce": ("REINFORCE",),
    "algorithms.supervised": ("Supervised",),
    "algorithms.text_algorithm": ("TextAlgorithm",),
    "algorithms.text_buffer": ("TextRolloutBuffer",),
    "evaluation.playing": ("evaluate",),
    "model.policy": ("LMPolicy",),
    "runs.predicting": ("predict",),
    "runs.pushing": ("push_to_hub",),
    "search.optimizers": ("OPTIMIZERS", "register_optimizer"),
    "search.optimizers.optimizer": ("Optimizer", "StructuredOptimizer", "VectorOptimizer"),
    "search.population.domain": ("Block", "Domain"),
    "search.population.population": ("Dense", "Population", "Sampled"),
    "search.spaces": ("SEARCH_SPACES", "register_search_space"),
    "search.spaces.parameters": ("ParameterSpace", "acting_parameters"),
    "search.spaces.space": ("SearchSpace",),
}
_WITH_EXTRAS = {"algorithms.maskable": ("MaskableLMPolicy", "MaskableTextRolloutBuffer")}  # sb3-contrib
_MODULE_OF = {name: module for module, names in (_HOME | _WITH_EXTRAS).items() for name in names}

__all__ = sorted(name for names in _HOME.values() for name in names)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lm_gym.agents.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULE_OF]


class _Package(ModuleType):
    """Keep `lm_gym.agents.evaluate` the function after the command module of the same name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULE_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


class _Checkout(MetaPathFinder, InspectLoader):
    """Load `lm_gym.agents.x` for `import agents.x`, so that no module is loaded under two names."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find the spec of a module of this package; None for any other module."""
        if not fullname.startswith("agents."):
            return None
        real = find_spec(f"lm_gym.{fullname}")
        if real is None:
            return None
        is_package = real.submodule_search_locations is not None
        return spec_from_loader(fullname, self, origin=real.origin, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that is loaded under its real name."""
        module = import_module(f"lm_gym.{spec.name}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back; it has run already."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> CodeType | None:
        """Get the code of a module, for `python -m agents.train`."""
        real = find_spec(f"lm_gym.{fullname}")
        assert real is not None
        loader: Any = real.loader
        code: CodeType | None = loader.get_code(f"lm_gym.{fullname}")
        return code

    def get_source(self, fullname: str) -> str | None:
        """Get the source of a module."""
        real = find_spec(f"lm_gym.{fullname}")
        assert real is not None
        loader: Any = real.loader
        source: str | None = loader.get_source(f"lm_gym.{fullname}")
        return source


if __name__ == "agents":
    sys.meta_path.insert(0, _Checkout())
