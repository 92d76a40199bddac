"""Masked-LM and NER tasks as Gymnasium environments."""

from importlib.metadata import PackageNotFoundError, version

from gymnasium.envs.registration import register, registry

_ENVIRONMENTS = {"lm_gym/MaskedLM-v0": "masked_lm:MaskedLM", "lm_gym/NER-v0": "ner:NER"}

try:
    __version__ = version("lm-gym")
except PackageNotFoundError:  # a checkout that isn't installed
    __version__ = "0.1.0"

for _id, _entry in _ENVIRONMENTS.items():
    if _id not in registry:
        register(_id, entry_point=f"lm_gym.envs.{_entry}Env", vector_entry_point=f"lm_gym.envs.{_entry}VectorEnv")
