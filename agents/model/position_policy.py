"""The policy at positions: from observations to log-probabilities and values where something is decided."""

from __future__ import annotations

from typing import Any, Self

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from lm_gym.agents.model.packed import AtCursors, Packed
from lm_gym.agents.model.position_model import PositionModel
from lm_gym.agents.model.text_encoder import TensorObservation, TextEncoder
from lm_gym.agents.model.waiting import WaitHead


class PositionPolicy(ActorCriticPolicy):
    """Base class of `LMPolicy`, whose constructor builds the parts.

    Attributes:
        unit: `"token"` or `"sequence"`, what a step decides.
        num_choices: n, with the choice to wait.
        waits: whether the last choice leaves a position open.
        temperature: divides the logits of the choices.
        language_model: the model, with its head.
        encoder: encodes each text as rarely as possible, and counts the texts.
        wait_head: the head that decides whether to fill a position; None if positions do not wait.
        value_net: the critic, on detached hidden states.
    """

    unit: str
    num_choices: int
    waits: bool
    temperature: float
    language_model: PositionModel
    encoder: TextEncoder
    wait_head: WaitHead | None
    value_net: nn.Linear

    @property
    def network(self) -> Any:
        """The Hugging Face model."""
        return self.language_model.network

    @property
    def states(self) -> int:
        """Number of hidden states that the head reads for each position: one, or those of the candidates."""
        candidates = self.language_model.candidates
        return 1 if candidates is None else candidates.states

    @property
    def rows(self) -> int:
        """Number of rows that the encoder reads for each text: one, or one for each part that it reads separately."""
        candidates = self.language_model.candidates
        return 1 if candidates is None else candidates.rows

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; training mode forgets encoded texts, because weights will change."""
        if mode:
            self.encoder.forget()
        return super().train(mode)

    def positions(self, obs: TensorObservation, slots: th.Tensor | None = None) -> Packed:
        """Encode a batch and run the head at its positions.

        Args:
            obs: tensors of the observation's arrays, [B, …].
            slots: int64 [B], one position of each text (with `unit="token"`: the cursor); None for all positions, or
                for those that are due in texts that take several steps.
        """
        return self._positions(obs, slots, counted=False)

    def _positions(self, obs: TensorObservation, slots: th.Tensor | None = None, *, counted: bool) -> Packed:
        """Return the same as `positions`, and count the texts if `counted`."""
        rows, slots = self.places(obs, slots)
        hidden = self.encoder.at_positions(obs, rows, slots, counted=counted)
        batch, width = obs["position_mask"].shape
        log_probs = self.log_probs(hidden, rows, obs, slots)
        return Packed(log_probs, hidden, rows, slots, (batch, width), self.filled(obs, rows, slots))

    def filled(self, obs: TensorObservation, rows: th.Tensor, slots: th.Tensor) -> th.Tensor | None:
        """Return which positions have a token already, bool [Q]; None if positions may not wait."""
        return obs["predictions"][rows, slots] < self.num_choices - 1 if self.waits else None

    def places(self, obs: TensorObservation, slots: th.Tensor | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Return the rows and slots of the positions for `positions`, int64 [Q] each; same arguments."""
        if slots is None:
            rows, slots = obs.get("due", obs["position_mask"]).bool().nonzero(as_tuple=True)
            return rows, slots
        return th.arange(len(slots), device=slots.device), slots

    def encode(self, obs: TensorObservation, rows: th.Tensor, slots: th.Tensor) -> th.Tensor:
        """Return the encoder's hidden states [Q, H] at positions, or those of candidates (see `PositionModel`)."""
        return self.encoder.at_positions(obs, rows, slots, counted=False)

    def log_probs(
        self, hidden: th.Tensor, rows: th.Tensor, obs: TensorObservation, slots: th.Tensor | None = None
    ) -> th.Tensor:
        """Return log-probabilities, float32 [Q, n], from hidden states [Q, H] of the texts `rows` [Q].

        The positions `slots` [Q] are needed only if positions may wait.
        """
        logits = self._logits(hidden)
        if "action_mask" in obs:
            logits = logits.masked_fill(obs["action_mask"].bool().logical_not()[rows], float("-inf"))
        if self.wait_head is not None:
            tokens = obs["predictions"].long()[rows, slots]
            last = (obs["steps_left"][:, 0] <= 1)[rows] if "steps_left" in obs else None
            own = th.log_softmax(logits * self.temperature, -1)  # at temperature 1
            waiting: th.Tensor = self.wait_head(hidden, own, th.log_softmax(logits, -1), rows, last, tokens)
            return waiting
        if logits.shape[-1] < 16 and not logits.requires_grad:  # torch's kernel is slow for few choices
            return logits - logits.logsumexp(-1, keepdim=True)
        return th.log_softmax(logits, -1)

    def _logits(self, hidden: th.Tensor) -> th.Tensor:
        """Return logits of the choices, float32 [Q, n]; a model may have more rows than its tokenizer has tokens."""
        logits = self.language_model.head(hidden)[:, : self.num_choices]
        return logits if self.temperature == 1 else logits / self.temperature

    def values(self, packed: Packed | AtCursors) -> th.Tensor:
        """Return the critic's value at each position, float32 [Q]; gradients stay in the critic."""
        values: th.Tensor = self.value_net(packed.hidden[..., : self.value_net.in_features].detach().float())
        return values.flatten(1).mean(1)  # of the candidates, with a pointer head

    def _decide(self, obs: TensorObservation, action_masks: Any = None) -> Packed | AtCursors:
        """Return the policy's output at every position to decide: all positions, or the ones at the cursors.

        Args:
            obs: a batch, or with `unit="token"` texts and steps (see `TextEncoder.at_cursors`).
            action_masks: allowed choices, [B, n] or [B, T · n]; overrides the observation's mask.
        """
        if self.unit == "sequence":
            return self._positions(obs, counted=True).restricted(action_masks)
        keep = not (self.training or th.is_grad_enabled() or th.is_inference_mode_enabled() or "text" in obs)
        hidden, steps = self.encoder.kept(obs) if keep else self.encoder.at_cursors(obs)
        logits = self._logits(hidden)
        allowed = obs.get("action_mask") if action_masks is None else action_masks
        if allowed is not None:  # rows that share a position may have different masks
            allowed = th.as_tensor(allowed, device=self.device).bool()
            logits = logits[steps].masked_fill(~allowed, float("-inf"))
            hidden, steps = hidden[steps], th.arange(len(steps), device=self.device)
        return AtCursors(th.log_softmax(logits, -1), hidden, steps)

    def step_log_probs(self, obs: TensorObservation) -> th.Tensor:
        """Return log-probabilities at the cursor of each step of a batch (`unit="token"`), float32 [B, n]."""
        packed = self._decide(obs)
        return packed.unpack(packed.log_probs)
