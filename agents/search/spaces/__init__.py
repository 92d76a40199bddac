"""Search spaces by name: SEARCH_SPACES."""

from lm_gym.agents.search.spaces.bias import Bias
from lm_gym.agents.search.spaces.deep_prompt import DeepPrompt
from lm_gym.agents.search.spaces.discrete_prompt import DiscretePrompt
from lm_gym.agents.search.spaces.full import Full, LastLayers
from lm_gym.agents.search.spaces.head import Head
from lm_gym.agents.search.spaces.head_mask import HeadMask
from lm_gym.agents.search.spaces.lora import LoRA
from lm_gym.agents.search.spaces.soft_prompt import SoftPrompt
from lm_gym.agents.search.spaces.space import SearchSpace
from lm_gym.registry import Registry, class_registrar

_ENTRIES: dict[str, type[SearchSpace]] = {
    "full": Full,
    "last_k_layers": LastLayers,
    "head": Head,
    "bias": Bias,
    "lora": LoRA,
    "soft_prompt": SoftPrompt,
    "deep_prompt": DeepPrompt,
    "head_mask": HeadMask,
    "discrete_prompt": DiscretePrompt,
}
SEARCH_SPACES = Registry("search space", _ENTRIES)
register_search_space = class_registrar(SEARCH_SPACES)
