"""The name under which a user types a command of this package."""

import sys


def program(command: str) -> str:
    """Return how to type `command`, in the same way as the current process was started.

    The result is `python -m agents.train` or `python -m lm_gym.agents.train` if the process was started like that, and
    `lm-gym train`, the installed command, otherwise.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    package, _, module = ("" if spec is None else spec.name).rpartition(".")
    if package not in ("agents", "lm_gym.agents"):
        return f"lm-gym {command}"
    return f"python -m {package} {command}" if module == "__main__" else f"python -m {package}.{command}"
