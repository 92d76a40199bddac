"""Search spaces by name: SEARCH_SPACES."""

from agents.search_spaces.space import SearchSpace

SEARCH_SPACES: dict[str, type[SearchSpace]] = {}
