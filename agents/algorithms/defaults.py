"""The table of default settings, by algorithm, by the model at the start of training, and by its size.

The first matching row is used; rows of a class come before those of its bases. Learning rates are for a model of width
`WIDTH` and decrease with the width (`rate_at`). benchmarks/defaults.py prints the results of each
pairing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lm_gym.agents.model.heads import Head
from lm_gym.agents.model.start import Start, Weights

WIDTH = 128  # hidden size of the models to which the rates of the table apply


class Default(NamedTuple):
    """A row of the table.

    Attributes:
        algorithm: name of the class or of a base class.
        settings: by name: arguments of the constructor; those of an optimizer in `optimizer_kwargs`.
        head: head of the model; None for any.
        weights: weights of the model, one of these (see `Start`); None for any.
        space: name of the search space; None for any.
        at_least: minimum number of searched numbers.
    """

    algorithm: str
    settings: Mapping[str, Any]
    head: Head | None = None
    weights: tuple[Weights, ...] | None = None
    space: str | None = None
    at_least: int = 0


def _search(**optimizer_kwargs: Any) -> dict[str, Any]:
    return {"optimizer_kwargs": optimizer_kwargs}


_LOADED: tuple[Weights, ...] = ("fresh head", "trained")  # from a checkpoint
_MASKED: dict[str, Any] = {"head": "vocabulary", "weights": _LOADED, "space": "head"}
_LANGUAGE: dict[str, Any] = {"head": "vocabulary", "weights": _LOADED}  # any space; rows of the head come before
_LARGE: dict[str, Any] = {"head": "vocabulary", "weights": ("trained",), "space": "head", "at_least": 100_000}

TABLE: tuple[Default, ...] = (
    Default("GradientAlgorithm", {"learning_rate": 5e-4}, head="vocabulary", weights=("trained",)),
    Default("GradientAlgorithm", {"learning_rate": 2.5e-3}, head="vocabulary", weights=("fresh head",)),
    Default("GradientAlgorithm", {"learning_rate": 2e-4}, weights=("trained",)),
    Default("GradientAlgorithm", {"learning_rate": 1e-3}),
    Default("PPO", {"learning_rate": 1e-4}, head="vocabulary", weights=("trained",)),
    Default("PPO", {"learning_rate": 5e-4, "behaviour": "policy"}, head="vocabulary", weights=("fresh head",)),
    Default("PPO", {"learning_rate": 2e-4}, weights=("trained",)),
    Default("PPO", {"learning_rate": 1e-3}),
    # Searches. Those over a vocabulary head: benchmarks/sweep.py --env.id lm_gym/MaskedLM-v0 --env.dataset wikitext2
    # --seconds 12 --algo NAME --try agent.optimizer_kwargs.KEY=…; those over a head of labels: --env.id lm_gym/NER-v0.
    # Trained heads of large vocabularies, such as MiniLM's with 179,000 numbers: a tenth of the steps or less.
    Default("ES", _search(popsize=256, sigma=0.03, learning_rate=5e-4, shaping="z_scores", averaging=0.98), **_LARGE),
    Default("SNES", _search(popsize=256, sigma=0.02), **_LARGE),
    Default("CMAES", {"optimizer": "sep_cma_es", **_search(popsize=64, sigma=0.02)}, **_LARGE),
    Default("PSO", _search(inertia="linear", spread=0.01), **_LARGE),
    Default("GA", _search(selection="truncation", spread=0.005, mutation_step=0.005), **_LARGE),
    Default("DE", _search(spread=0.003), **_LARGE),
    Default("SA", _search(popsize=4, step=0.01), **_LARGE),
    Default("MeZO", _search(popsize=64, sigma=0.03, learning_rate=0.003), **_LARGE),
    Default("LowRankES", _search(popsize=64, sigma=0.05, learning_rate=0.002, rule="adam"), **_LARGE),
    Default("RandomSearch", _search(popsize=64, sigma=0.01), **_LARGE),
    Default("ES", _search(popsize=256, sigma=0.1, learning_rate=0.05, shaping="z_scores", averaging=0.98),
            space="head"),
    # Other parts of a language model, of which a natural step changes the output by 0.1 to 0.2 nats: the same command
    # with --agent.search_space bias --env.num_envs 32 --agent.texts_per_member 1, and benchmarks/adapting.py.
    Default("ES", _search(popsize=64, sigma=1.0, learning_rate=0.1, shaping="z_scores", averaging=0.98), **_LANGUAGE),
    Default("ES", _search(popsize=256, sigma=0.1, learning_rate=0.05, shaping="z_scores", averaging=0.98)),
    Default("SNES", _search(popsize=256, sigma=0.3), space="head"),
    Default("SNES", _search(popsize=64, sigma=0.3), **_LANGUAGE),
    Default("SNES", _search(popsize=256, sigma=0.3)),
    Default("CMAES", {"optimizer": "sep_cma_es", **_search(popsize=64, sigma=0.2)}, **_MASKED, at_least=2001),
    Default("CMAES", {"optimizer": "sep_cma_es", **_search(popsize=64, sigma=1.0)}, space="head", at_least=2001),
    Default("CMAES", {"optimizer": "sep_cma_es", **_search(popsize=64, sigma=0.2)}, at_least=2001),
    Default("CMAES", _search(popsize=64, sigma=0.2)),
    Default("PSO", _search(inertia="linear", spread=0.1), **_MASKED),
    Default("PSO", _search(inertia="linear")),
    Default("GA", _search(selection="truncation", spread=0.05, mutation_step=0.05), **_MASKED),
    Default("GA", _search(selection="truncation", spread=3.0), space="head"),
    Default("GA", _search(selection="truncation", spread=0.3)),
    Default("DE", _search(spread=0.03), **_MASKED),
    Default("DE", _search(spread=0.1)),
    Default("SA", _search(popsize=4, step=0.05), **_MASKED),
    Default("SA", _search(popsize=8, step=0.03)),
    Default("MeZO", _search(popsize=64, sigma=0.1, learning_rate=0.3), **_MASKED),
    Default("MeZO", _search(popsize=128, sigma=0.1, learning_rate=3.0), space="head"),
    Default("MeZO", _search(popsize=64, sigma=1.0, learning_rate=0.3), **_LANGUAGE),
    Default("MeZO", _search(popsize=128, sigma=0.1, learning_rate=3.0)),
    Default("LowRankES", _search(popsize=64, sigma=0.05, learning_rate=0.02, rule="adam"), **_MASKED),
    Default("LowRankES", _search(popsize=256, sigma=0.05, learning_rate=0.05, rule="adam"), space="head"),
    Default("LowRankES", _search(popsize=64, sigma=1.0, learning_rate=0.1, rule="adam"), **_LANGUAGE),
    Default("LowRankES", _search(popsize=256, sigma=0.05, learning_rate=0.05, rule="adam")),
    Default("CRFMNES", _search(popsize=256, sigma=0.3)),
    Default("PGPE", _search(popsize=256, sigma=0.1, learning_rate=0.05, shaping="z_scores")),
    Default("ARS", _search(popsize=256, sigma=0.1), **_MASKED),
    Default("ARS", _search(popsize=256, sigma=0.1, learning_rate=0.2), space="head"),
    Default("ARS", _search(popsize=256, sigma=0.1)),
    Default("FZOO", _search(popsize=130, directions=64, sigma=0.1, learning_rate=0.05), **_MASKED),
    Default("FZOO", _search(popsize=130, directions=64, sigma=0.1, learning_rate=0.4), space="head"),
    Default("FZOO", _search(popsize=63, directions=8, rank=1, sigma=1.0, learning_rate=0.3), **_LANGUAGE),
    Default("FZOO", _search(popsize=130, directions=64, sigma=0.1, learning_rate=0.05)),
    Default("LOZO", _search(popsize=128, momentum=0.9, sigma=0.1, learning_rate=0.05), **_MASKED),
    # In a small head, two columns span only a few directions, so they are redrawn soon.
    Default("LOZO", _search(popsize=128, interval=5, momentum=0.9, sigma=0.1, learning_rate=0.4), space="head"),
    Default("LOZO", _search(popsize=64, momentum=0.9, sigma=1.0, learning_rate=0.3), **_LANGUAGE),
    Default("LOZO", _search(popsize=128, momentum=0.9, sigma=0.1, learning_rate=0.05)),
    Default("SubZero", _search(popsize=128, sigma=0.1, learning_rate=0.05), **_MASKED),
    Default("SubZero", _search(popsize=128, sigma=0.1, learning_rate=0.4), space="head"),
    Default("SubZero", _search(popsize=128, sigma=0.1, learning_rate=0.05)),
    Default("HiZOO", _search(popsize=126, sigma=0.1, learning_rate=0.3), **_MASKED),
    Default("HiZOO", _search(popsize=126, sigma=0.1, learning_rate=3.0)),
    Default("ZOSGD", _search(popsize=128, sigma=0.1, rule="adam"), **_MASKED),
    Default("ZOSGD", _search(popsize=128, sigma=0.1, learning_rate=0.1, rule="adam"), space="head"),
    Default("ZOSGD", _search(popsize=64, rank=1, sigma=1.0, learning_rate=0.1, rule="adam"), **_LANGUAGE),
    Default("ZOSGD", _search(popsize=128, sigma=0.1, rule="adam")),
    # A member costs a pass over the vocabulary: fewer members leave time to evaluate challengers again.
    Default("RandomSearch", _search(popsize=16, sigma=0.03), head="vocabulary", weights=("trained",), space="head"),
    Default("RandomSearch", _search(popsize=16, sigma=0.1), **_MASKED),
    Default("RandomSearch", _search(popsize=64)),
)  # fmt: skip


def is_auto(setting: object) -> bool:
    """Return whether a setting is `"auto"`, left to the algorithm. Its attribute has the type of the decided value."""
    return setting == "auto"


def default_of(algorithm: type, start: Start | None, space: str = "", numbers: int = 0) -> Mapping[str, Any]:
    """Find the settings of the first matching row; empty if there is none.

    Args:
        algorithm: class.
        start: the model; None if there is no language model.
        space: name of the search space, for a search.
        numbers: how many numbers are searched.
    """
    head, weights = (start.head, start.weights) if start else (None, None)
    for kind in algorithm.__mro__:
        for row in TABLE:
            fits = row.head in (None, head) and row.space in (None, space)
            fits = fits and (row.weights is None or weights in row.weights)
            if row.algorithm == kind.__name__ and fits and numbers >= row.at_least:
                return row.settings
    return {}


def rate_at(rate: float, hidden_size: int) -> float:
    """Scale a learning rate to the width H of a model: rate · (128/H)^1.5, at most `rate`, rounded to one digit.

    1e-3 at H = 128 becomes 2e-4 at 384 (MiniLM), 7e-5 at 768 (BERT-base) and 4e-5 at 1,024 (BERT-large).
    """
    return float(f"{rate * min(1.0, WIDTH / hidden_size) ** 1.5:.0e}")
