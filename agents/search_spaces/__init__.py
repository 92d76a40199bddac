"""Search spaces by name: SEARCH_SPACES."""

from agents.search_spaces.bias import Bias
from agents.search_spaces.discrete_prompt import DiscretePrompt
from agents.search_spaces.full import Full, LastLayers
from agents.search_spaces.head import Head
from agents.search_spaces.head_mask import HeadMask
from agents.search_spaces.lora import LoRA
from agents.search_spaces.soft_prompt import SoftPrompt
from agents.search_spaces.space import SearchSpace

SEARCH_SPACES: dict[str, type[SearchSpace]] = {
    "full": Full,
    "last_k_layers": LastLayers,
    "head": Head,
    "bias": Bias,
    "lora": LoRA,
    "soft_prompt": SoftPrompt,
    "head_mask": HeadMask,
    "discrete_prompt": DiscretePrompt,
}
