"""A check of the contract of text environments, including your own."""

from lm_gym.testing.observations import check_attributes, check_observations
from lm_gym.testing.played import AnyEnv, Played
from lm_gym.testing.reproduction import (
    check_determinism,
    check_draws,
    check_groups,
    check_indices,
    check_pickling,
    check_sharing,
    check_state,
)
from lm_gym.testing.rewards import check_rewards

__all__ = ["check_text_env"]


def check_text_env(env: AnyEnv, steps: int = 60) -> None:
    """Check a single or vector text environment against the contract that agents rely on.

    The check covers spaces and dtypes, padding, determinism by seed, independence of returned arrays, agreement of
    rewards with `position_rewards`, `indices`, continuing at `draws`, groups, pickling and states. It resets and steps
    the environment, and leaves it in an arbitrary state.

    Args:
        env: the environment, wrapped or not.
        steps: number of steps of each rollout.

    Raises:
        AssertionError: the environment breaks the contract; the message says how.
        TypeError: it is not a text environment.
    """
    played = Played(env)
    check_attributes(played)
    check_observations(played, steps)
    check_determinism(played, steps)
    check_sharing(played, steps)
    check_rewards(played)
    check_indices(played)
    check_draws(played)
    check_groups(played, steps)
    check_pickling(played, steps)
    check_state(played, steps)
