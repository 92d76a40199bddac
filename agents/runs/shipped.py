"""The configs and studies that come with the package, and how they are found by name."""

from pathlib import Path

import lm_gym
from lm_gym.agents.runs.settings import SettingsError
from lm_gym.naming import among

CONFIGS = Path(lm_gym.__file__).parent / "configs"


def find_config(name: str) -> Path:
    """Find a settings file.

    Args:
        name: a path, or the name of a shipped config: `ner_ppo`, `ner_ppo.yaml` or `configs/ner_ppo.yaml`. An
            existing path takes precedence.

    Raises:
        SettingsError: if there is no such file and no such config; the message lists the shipped ones.
    """
    return _find(name, "config", CONFIGS)


def find_study(name: str) -> Path:
    """Find a study, like `find_config`: a path, `ner_builtin`, or `compare/ner_builtin.yaml`."""
    return _find(name, "study", CONFIGS / "compare")


def _find(name: str, what: str, folder: Path) -> Path:
    path = Path(name)
    if path.exists() and not path.is_dir():  # a pipe is allowed
        return path
    shipped = sorted(folder.glob("*.yaml"))
    for found in shipped:
        parts = ("configs", *found.relative_to(CONFIGS).parts)
        names = {"/".join(parts[start:]) for start in range(len(parts))}
        if {name, f"{name}.yaml"} & names:
            return found
    stems = [found.stem for found in shipped]
    raise SettingsError(f"no file {name!r}, and the package has no {what} of that name{among(path.stem, stems)}")
