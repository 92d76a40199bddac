"""The texts of a batch that each member of a population reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch as th

from lm_gym.agents.model.devices import upload
from lm_gym.agents.model.text_encoder import TensorObservation


@dataclass(frozen=True)
class Reading:
    """The texts of a generation, divided among the members.

    Members and texts form G groups each, in order: the first P/G members read the first B/G texts, and so on. In a
    forward pass, members follow one another, each with its k = B/G texts.

    Attributes:
        obs: the observation of B texts.
        members: P.
        groups: G, which divides both P and B; 1: all members read all texts.
    """

    obs: TensorObservation
    members: int
    groups: int = 1

    def __post_init__(self) -> None:
        texts = len(self.obs["input_ids"])
        if self.groups < 1 or self.members % self.groups or texts % self.groups:
            raise ValueError(f"groups={self.groups} must divide both {self.members} members and {texts} texts")

    @property
    def texts(self) -> int:
        """k, number of texts that a member reads."""
        return len(self.obs["input_ids"]) // self.groups

    @property
    def sharing(self) -> int:
        """P/G, number of members that read the same texts."""
        return self.members // self.groups

    def chunks(self, max_rows: int) -> list[slice]:
        """Divide the members into chunks of one forward pass each; the chunks depend only on the sizes.

        Args:
            max_rows: maximum number of texts in one forward pass, counted for each member; at least one member runs at
                a time, and both members of an antithetic pair run together if two fit.

        Raises:
            ValueError: max_rows is below 1.
        """
        if max_rows < 1:
            raise ValueError(f"max_rows={max_rows}: give 1 or more")
        members = max(1, max_rows // self.texts)
        if members > 1:
            members -= members % 2
        return [slice(start, min(start + members, self.members)) for start in range(0, self.members, members)]

    def text_slice(self, members: slice) -> slice:
        """Return the texts that these members read."""
        first, last = members.start // self.sharing, (members.stop - 1) // self.sharing
        return slice(first * self.texts, (last + 1) * self.texts)

    def rows(self, members: slice) -> th.Tensor:
        """Return the text of each row of a forward pass of these members, int64 [p·k]."""
        return self._rows(members, self.obs["input_ids"].device)

    def _rows(self, members: slice, device: th.device | str) -> th.Tensor:
        group = th.arange(members.start, members.stop, device=device) // self.sharing
        return (group[:, None] * self.texts + th.arange(self.texts, device=device)).flatten()

    def observation(self, members: slice) -> TensorObservation:
        """Return the observation of a forward pass of these members, p·k rows."""
        rows = self.rows(members)
        return {key: leaf[rows] for key, leaf in self.obs.items()}

    def positions(self, members: slice) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Return member (0 … p-1), text (0 … B-1) and slot of each position of these members, int64 [A] each."""
        row, slot = self._mask[self._rows(members, "cpu")].nonzero(as_tuple=True)
        device = self.obs["input_ids"].device
        row, slot = upload(row, device), upload(slot, device)
        return row // self.texts, self.rows(members)[row], slot

    @cached_property
    def _mask(self) -> th.Tensor:
        """Positions of the texts, bool [B, T], on the CPU, so that counting them does not wait for the device."""
        return self.obs["position_mask"].bool().cpu()

    @cached_property
    def counts(self) -> list[int]:
        """Number of positions that a member of each group decides."""
        counts: list[int] = self._mask.sum(1).view(self.groups, -1).sum(1).tolist()
        return counts

    def shaped(self, log_probs: th.Tensor, members: slice) -> th.Tensor:
        """Return log-probabilities [A, n] of these members, as [p, Q, n] if all read the same texts."""
        return log_probs.view(members.stop - members.start, -1, log_probs.shape[-1]) if self.groups == 1 else log_probs


def count_groups(k: int, rows: int, population: int, unit: int) -> int:
    """Return the number of groups that members and texts form if each member reads k texts.

    Args:
        k: texts per member.
        rows: texts of a generation.
        population: P.
        unit: minimum number of members that read the same texts.

    Raises:
        ValueError: members or texts cannot be divided into groups; the message says how to fix this.
    """
    if rows % k:
        raise ValueError(
            f"texts_per_member={k} does not divide the {rows} texts of a generation (the environment's rows): make "
            f"the environment with a multiple of {k} rows"
        )
    groups = rows // k
    if population % (groups * unit):
        units, nearest = population // unit, groups * unit * max(1, round(population / (groups * unit)))
        whole = "" if unit == 1 else f" of whole units of {unit} members"
        raise ValueError(
            f"texts_per_member={k} makes {groups} groups of the {rows} texts of a generation, and {population} "
            f"members do not divide into as many{whole}: use popsize={nearest}, or make the environment with {k} "
            f"times a divisor of {units} rows"
        )
    return groups
