"""Single environments that play the texts which the rows of a native vector environment play.

Rows of a native environment share one sampler, and single environments have one each. So that both can be compared
through any number of episode ends, a single environment is told at each reset which draw of the sampler to play.
"""

import gymnasium
import numpy as np
from numpy.typing import NDArray

SEED = 11


class Following(gymnasium.Wrapper):
    """A single environment whose resets play the draws it is told of, with the masks of these draws under `SEED`."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.told: list[int] = []

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=SEED, options={"draws": self.told.pop(0)})


class Script:
    """Tell single environments which draws the rows of a native environment take.

    Args:
        native: reset with `SEED` just before.
        singles: one for each row.
    """

    def __init__(self, native: gymnasium.vector.VectorEnv, singles: list[Following]) -> None:
        self.native, self.singles, self.draws = native, singles, 0
        self.note(np.ones(native.num_envs, np.bool_))

    def note(self, begun: NDArray[np.bool_]) -> None:
        """Assign the draws since the last call to the rows that began a text, in the order of the rows."""
        for row in np.flatnonzero(begun):
            self.singles[row].told.append(self.draws)
            self.draws += 1
        assert self.draws == self.native.draws
