"""How a reader types a command of this package."""

import sys


def program(command: str) -> str:
    """Return what to type to run `command`, in the way in which this process was started.

    That is `python -m agents.train` for a process started so, `python -m lm_gym.agents.train` likewise, and
    `lm-gym train`, the installed command, for any other process.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    package, _, module = ("" if spec is None else spec.name).rpartition(".")
    if package not in ("agents", "lm_gym.agents"):
        return f"lm-gym {command}"
    return f"python -m {package} {command}" if module == "__main__" else f"python -m {package}.{command}"
