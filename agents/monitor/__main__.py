"""The command `monitor`: `python -m agents.monitor`."""

from lm_gym.agents.monitor import main

if __name__ == "__main__":
    main()
