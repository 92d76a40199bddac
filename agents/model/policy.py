"""LMPolicy: a Hugging Face language model as a Stable-Baselines3 actor-critic policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lm_gym.agents.model.adamw import GroupedAdamW, parameter_groups
from lm_gym.agents.model.environment_spaces import (
    check_vocabulary,
    read_action_space,
    read_observation,
    read_observation_space,
)
from lm_gym.agents.model.freezing import freeze_parameters, matching
from lm_gym.agents.model.heads import Head, head_parameters, label_names, resolve_head
from lm_gym.agents.model.loading import load_model, model_path
from lm_gym.agents.model.packed import AtCursors, Packed, entropy
from lm_gym.agents.model.position_model import PositionModel, check_length
from lm_gym.agents.model.prompts import install, load_prompt, save_prompt
from lm_gym.agents.model.text_encoder import TensorObservation, TextEncoder
from lm_gym.agents.model.tokenizer import check_tokenizer, save_tokenizer
from lm_gym.agents.model.waiting import WaitHead, load_wait_head, save_wait_head
from lm_gym.tokenizer import TextTokenizer

_FORBIDDEN = -1e8  # a log-probability of 0


class LMPolicy(ActorCriticPolicy):
    """A masked or causal language model, or a token classifier, that acts in lm_gym's environments.

    Works for both units and both action forms. A text is encoded once per call however many rows read it, and the head
    runs at the positions only. With `unit="token"`, in evaluation mode and without gradients, a text is encoded when
    it begins (or reads differently, or the weights have changed) and its other positions cost the head alone. The
    critic is a linear layer on detached hidden states: it never bends the language model.

    With as many choices as tokens and one more, the last one leaves a position open, and a small head decides whether a
    position is filled (`WaitHead`).

    Args:
        observation_space: the environment's (a Dict with input_ids, attention_mask, positions, position_mask, …).
        action_space: Discrete(n), MultiDiscrete([n] * T), Box([n]) or Box([T, n]).
        lr_schedule: progress remaining (1 → 0) to learning rate.
        model: `"tiny"`, a local folder, a hub id, or a configuration dict (fresh weights).
        head: `"vocabulary"` (a language model's own) or `"labels"` (a token classifier's); None: the vocabulary where
            there are as many choices as tokens, else labels.
        labels: names of the choices of a head of labels, in order; they are written into its checkpoints, and rows of
            a checkpoint's head go to the labels of the same name (see `load_model`). None: the checkpoint's own names.
        freeze: glob patterns over the model's parameter names that stay as they are, e.g. `("*embeddings*",)`.
        head_lr_scale: learning rate of a head of labels and of the critic, as a multiple of the encoder's.
        weight_decay: AdamW's decay of matrices.
        dropout: overrides the model's dropout probabilities; None keeps them.
        dtype: `"float32"`, `"bfloat16"` or `"float16"`: how the weights are held.
        tokenizer: where save_pretrained finds the tokenizer; by default beside `model`.
        use_sde: accepted for Stable-Baselines3's sake; must be False.

    Raises:
        ValueError: spaces that are not lm_gym's, a model with a vocabulary that is not the environment's, a checkpoint
            that lacks weights, or longer texts than the model takes.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: str | dict[str, Any] = "tiny",
        head: Head | None = None,
        labels: Sequence[str] | None = None,
        freeze: Sequence[str] = (),
        head_lr_scale: float = 5.0,
        weight_decay: float = 0.01,
        dropout: float | None = None,
        dtype: str = "float32",
        tokenizer: str | None = None,
        use_sde: bool = False,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde=True: state-dependent exploration needs continuous control; leave it False")
        BasePolicy.__init__(self, observation_space, action_space, normalize_images=False)
        self.unit, self.distribution, self.num_choices = read_action_space(action_space)
        vocabulary, self.max_length = read_observation_space(observation_space)
        self.waits = head in (None, "vocabulary") and self.num_choices == vocabulary + 1
        self.head, labels = resolve_head(head, labels, self.num_choices - self.waits, vocabulary)
        self._arguments: dict[str, Any] = {
            "head": self.head,
            "labels": labels,
            "freeze": list(freeze),
            "head_lr_scale": head_lr_scale,
            "weight_decay": weight_decay,
            "dropout": dropout,
            "dtype": dtype,
            "tokenizer": tokenizer or (model if isinstance(model, str) else None),
        }
        network = load_model(model, self.head, labels=labels, dtype=dtype, dropout=dropout)
        check_vocabulary(network.config, vocabulary, model)
        if self.head == "labels":
            self._arguments["labels"] = label_names(network.config)
        freeze_parameters(network, self._arguments["freeze"], all_of_them=self.waits)
        self.language_model = PositionModel(network)
        self.encoder = TextEncoder(self.language_model)
        self.check_length()
        prompt = load_prompt(network.config, model_path(model) if isinstance(model, str) else None)
        if prompt is not None:
            install(self, prompt)
        self.value_net = nn.Linear(network.config.hidden_size, 1)
        nn.init.zeros_(self.value_net.weight)
        nn.init.zeros_(self.value_net.bias)
        heads: list[nn.Module | nn.Parameter] = [self.value_net]
        self.wait_head: WaitHead | None = None
        if self.waits:
            self.wait_head = load_wait_head(
                network.config.hidden_size, model_path(model) if isinstance(model, str) else None
            )
            heads.append(self.wait_head)
        if self.head == "labels":
            heads += head_parameters(network).values()
        self.optimizer = GroupedAdamW(
            parameter_groups(self, heads, head_lr_scale=head_lr_scale, weight_decay=weight_decay),
            lr=lr_schedule(1.0),
        )

    @property
    def network(self) -> Any:
        """The Hugging Face model itself."""
        return self.language_model.network

    def check_length(self, prompt: int = 0) -> None:
        """Refuses texts that are longer than the model takes, with a prompt of so many tokens in them."""
        check_length(self.network, self.max_length, prompt)

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the model's parameters that `freeze` holds fast."""
        return matching(self.network, self._arguments["freeze"])

    @property
    def tokenizer(self) -> str | None:
        """Where the model's tokenizer lies: a folder, a hub id, `"tiny"`, or None if that isn't known."""
        source: str | None = self._arguments["tokenizer"]
        return source

    def check_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Refuses texts that another tokenizer cuts than the model's own, where that is known.

        Raises:
            ValueError: naming a token on which they differ.
        """
        if self.tokenizer is not None:
            check_tokenizer(self.tokenizer, tokenizer.tokenizer.get_vocab(), tokenizer.source)

    def config_kwargs(self) -> dict[str, Any]:
        """`policy_kwargs` that rebuild this policy without reading the checkpoint it began from."""
        return {"model": self.network.config.to_dict(), **self._arguments}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            **self.config_kwargs(),
        }

    # ------------------------------------------------------------------ the model at its positions

    def positions(self, obs: TensorObservation, slots: th.Tensor | None = None) -> Packed:
        """One encoding of the batch, the head at its positions.

        Args:
            obs: tensors of the observation's arrays, [B, …].
            slots: int64 [B], one position of each text (`unit="token"`: the cursor); None: every position of each, or,
                of texts that take several steps, those that are due.
        """
        rows, slots = self.places(obs, slots)
        hidden = self.encode(obs, rows, slots)
        batch, width = obs["position_mask"].shape
        return Packed(self.log_probs(hidden, rows, obs), hidden, rows, slots, (batch, width), self.waits)

    def places(self, obs: TensorObservation, slots: th.Tensor | None = None) -> tuple[th.Tensor, th.Tensor]:
        """Rows and slots of the positions that `positions` reads, int64 [Q] each; arguments as there."""
        if slots is None:
            rows, slots = obs.get("due", obs["position_mask"]).bool().nonzero(as_tuple=True)
            return rows, slots
        return th.arange(len(slots), device=slots.device), slots

    def encode(self, obs: TensorObservation, rows: th.Tensor, slots: th.Tensor) -> th.Tensor:
        """The encoder's states [Q, H] at positions."""
        columns = obs["positions"].long()[rows, slots]
        self.encoder.spent.texts += len(obs["input_ids"])
        self.encoder.spent.tokens += int(obs["attention_mask"].sum())
        self.encoder.spent.backward += len(obs["input_ids"]) if th.is_grad_enabled() else 0
        return self.language_model.encode(obs["input_ids"].long(), obs["attention_mask"].long(), rows, columns)

    def log_probs(self, hidden: th.Tensor, rows: th.Tensor, obs: TensorObservation) -> th.Tensor:
        """Log of the policy, float32 [Q, n], where the encoder's states are `hidden` [Q, H] of the texts `rows` [Q]."""
        logits = self.language_model.head(hidden)
        if "action_mask" in obs:
            logits = logits.masked_fill(obs["action_mask"].bool().logical_not()[rows], float("-inf"))
        if self.wait_head is not None:
            last = (obs["steps_left"][:, 0] <= 1)[rows] if "steps_left" in obs else None
            return self.wait_head(hidden, th.log_softmax(logits, -1), last)
        if logits.shape[-1] < 16 and not logits.requires_grad:  # a few choices are what torch's own kernel is slow at
            return logits - logits.logsumexp(-1, keepdim=True)
        return th.log_softmax(logits, -1)

    def values(self, packed: Packed | AtCursors) -> th.Tensor:
        """The critic's return-to-go at each position, float32 [Q]; its gradient stays in the critic."""
        values: th.Tensor = self.value_net(packed.hidden.detach().float())
        return values.squeeze(-1)

    def train(self, mode: bool = True) -> Self:
        """Training mode or evaluation mode; what was encoded is forgotten before weights change."""
        if mode:
            self.encoder.forget()
        return super().train(mode)

    def _decide(self, obs: TensorObservation, action_masks: Any = None) -> Packed | AtCursors:
        """The policy at every position to decide: all of a text, or the one at the cursor.

        Args:
            obs: a batch, or with `unit="token"` texts and steps (see `TextEncoder.at_cursors`).
            action_masks: which choices are allowed, [B, n] or [B, T · n], in place of the observation's.
        """
        if self.unit == "sequence":
            return self.positions(obs).restricted(action_masks)
        keep = not (self.training or th.is_grad_enabled() or th.is_inference_mode_enabled() or "text" in obs)
        hidden, steps = self.encoder.kept(obs) if keep else self.encoder.at_cursors(obs)
        logits = self.language_model.head(hidden)
        allowed = obs.get("action_mask") if action_masks is None else action_masks
        if allowed is not None:  # of rows that share a position each may be allowed something else
            allowed = th.as_tensor(allowed, device=self.device).bool()
            logits = logits[steps].masked_fill(~allowed, float("-inf"))
            hidden, steps = hidden[steps], th.arange(len(steps), device=self.device)
        return AtCursors(th.log_softmax(logits, -1), hidden, steps)

    # ------------------------------------------------------------------ Stable-Baselines3's interface

    def _predict(self, observation: PyTorchObs, deterministic: bool = False, action_masks: Any = None) -> th.Tensor:
        obs = _as_dict(observation)
        spent = replace(self.encoder.spent)
        packed = self._decide(obs, action_masks)
        self.encoder.spent = spent  # predicting is not training
        if self.distribution:
            lowest = float(self.action_space.low.min())  # type: ignore[attr-defined]
            return packed.unpack(_as_decided(packed, lowest).clamp(min=lowest))
        return packed.choose(deterministic)

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Actions, values [B, 1] and log-probabilities [B] (a text's is the sum over its positions).

        Args:
            obs: the observation.
            deterministic: take the most probable choices.
            action_masks: allowed choices, [B, n] or (`unit="sequence"`) [B, T · n]; None for the observation's own.
        """
        self._refuse_distribution()
        packed = self._decide(_as_dict(obs), action_masks)
        actions = packed.choose(deterministic)
        return actions, self._text_values(packed), packed.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: th.Tensor, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Values [B, 1], log-probabilities [B] and entropies [B] of `actions` (sums over a text's positions)."""
        self._refuse_distribution()
        packed = self._decide(_as_dict(obs), action_masks)
        entropies = packed.total(entropy(packed.log_probs))
        return self._text_values(packed), packed.log_prob(actions.long()), entropies

    def get_distribution(self, obs: PyTorchObs, action_masks: Any = None) -> CategoricalDistribution:
        """The policy at the cursors as Stable-Baselines3's distribution, twice differentiable (for TRPO).

        Raises:
            ValueError: whole texts are decided at once.
        """
        self._refuse_distribution()
        if self.unit == "sequence":
            raise ValueError("a distribution over whole texts has no one shape: make the environment with unit='token'")
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            packed = self._decide(_as_dict(obs), action_masks)
        logits = packed.unpack(packed.log_probs).clamp(min=_FORBIDDEN)  # -inf would make gradients of the KL NaN
        return CategoricalDistribution(self.num_choices).proba_distribution(logits)

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """The critic's value of each observation, [B, 1]."""
        return self._text_values(self._decide(_as_dict(obs)))

    def _text_values(self, packed: Packed | AtCursors) -> th.Tensor:
        """A row's value [B, 1]: at the cursor, or (unit="sequence") the mean over a text's positions."""
        return packed.mean(self.values(packed))[:, None]

    def _refuse_distribution(self) -> None:
        if self.distribution:
            raise ValueError(
                'actions="distribution" has no sampled action for a policy gradient; make the environment with '
                'actions="token"'
            )

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """Integer arrays to integer tensors (no one-hot, no float); adds the batch dimension where it is missing."""
        return read_observation(observation, self.device)

    # ------------------------------------------------------------------ checkpoints

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes an ordinary Hugging Face checkpoint into `folder`: config with id2label, safetensors, tokenizer.

        A prompt is written beside it (prompt.safetensors); an LMPolicy of that folder has it, other programs have not.
        """
        self.network.save_pretrained(folder)
        if self.language_model.prompt is not None:
            save_prompt(self.language_model.prompt, folder)
        if self.wait_head is not None:
            save_wait_head(self.wait_head, folder)
        if self.tokenizer is not None:
            save_tokenizer(self.tokenizer, folder)


def _as_decided(packed: Packed | AtCursors, lowest: float) -> th.Tensor:
    """Log-probabilities [Q, n] whose largest is the choice that the policy makes; of waiting nothing else is said."""
    if not isinstance(packed, Packed) or not packed.waits:
        return packed.log_probs
    waiting = (packed.most_probable() == packed.log_probs.shape[1] - 1)[:, None]
    tokens, wait = packed.log_probs[:, :-1], packed.log_probs[:, -1:]
    return th.cat([th.where(waiting, tokens.clamp(max=wait), tokens), wait.masked_fill(~waiting, lowest)], -1)


def _as_dict(obs: PyTorchObs) -> TensorObservation:
    assert isinstance(obs, dict), "LMPolicy acts on lm_gym's Dict observations"
    return obs
