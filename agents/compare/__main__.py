"""The command `compare`: `python -m agents.compare`."""

from lm_gym.agents.compare import main

if __name__ == "__main__":
    main()
