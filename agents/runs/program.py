"""The name under which a user types a command of this package."""

import sys


def program(command: str) -> str:
    """Return how to type `command`, in the same way as the current process was started.

    The result is `python -m agents.train` or `python -m lm_gym.agents.train` if the process was started like that, and
    `lm-gym train`, the installed command, otherwise.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = "" if spec is None else spec.name
    for package in ("lm_gym.agents", "agents"):
        if name == f"{package}.__main__":  # python -m lm_gym.agents train
            return f"python -m {package} {command}"
        if name.startswith(f"{package}."):
            return f"python -m {package}.{command}"
    return f"lm-gym {command}"
