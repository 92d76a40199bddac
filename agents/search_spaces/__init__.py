"""Search spaces by name: SEARCH_SPACES."""

from agents.search_spaces.bias import Bias
from agents.search_spaces.full import Full, LastLayers
from agents.search_spaces.head import Head
from agents.search_spaces.space import SearchSpace

SEARCH_SPACES: dict[str, type[SearchSpace]] = {
    "full": Full,
    "last_k_layers": LastLayers,
    "head": Head,
    "bias": Bias,
}
