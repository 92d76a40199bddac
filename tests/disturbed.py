"""Agents whose replicas fail. Workers import them by name."""

import os
import signal
from pathlib import Path

import torch as th

from lm_gym.agents.algorithms.presets import SNES
from lm_gym.agents.algorithms.reinforce import REINFORCE
from lm_gym.agents.algorithms.supervised import Supervised


class Disturbed(SNES):
    """An agent whose replicas fail once, while a file exists."""

    harm, trap, home = "", "", 0

    def evaluation(self, texts):
        if self._trapped("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._trapped("raises"):
            raise ValueError("no such tag")
        return super().evaluation(texts)

    def update(self, fitness, rate):
        super().update(fitness, rate)
        if self._trapped("drifts"):
            with th.no_grad():
                next(self.policy.parameters()).add_(1e-6)

    def _trapped(self, harm):
        if self.harm != harm or os.getpid() == self.home:
            return False
        try:
            Path(self.trap).unlink()
        except FileNotFoundError:
            return False
        return True


class Broken(Supervised):
    """An agent whose replicas fail during their second update, or at its end."""

    home = 0  # the main process
    at_end = False

    def _update(self, obs, texts):
        if not self.at_end:
            self._break(updates=1)
        return super()._update(obs, texts)

    def learn_from_batch(self, texts):
        update = super().learn_from_batch(texts)
        if self.at_end:
            self._break(updates=2)
        return update

    def _break(self, updates):
        if os.getpid() != self.home and self.updates == updates:
            raise ValueError("no such tag")


class Unlucky(REINFORCE):
    """An agent one of whose replicas fails once, while a file exists."""

    home = 0  # the main process
    trap = ""
    dies = True

    def roll_out(self, policy, update):
        if os.getpid() != self.home and update == 2:
            try:
                Path(self.trap).unlink()
            except FileNotFoundError:
                return super().roll_out(policy, update)
            if not self.dies:
                raise ValueError("no such tag")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().roll_out(policy, update)
