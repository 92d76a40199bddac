"""LMPolicy: a Hugging Face language model as a Stable-Baselines3 actor-critic policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from lm_gym.agents.model.candidates import CANDIDATE_HEADS, find_candidates
from lm_gym.agents.model.distinct import distinct_texts
from lm_gym.agents.model.environment_spaces import (
    check_vocabulary,
    read_action_space,
    read_observation,
    read_observation_space,
)
from lm_gym.agents.model.freezing import freeze_parameters, matching
from lm_gym.agents.model.heads import CLASSIFIERS, Head, head_parameters, label_names, resolve_head
from lm_gym.agents.model.label_words import label_word_head, readme
from lm_gym.agents.model.loading import load, model_path
from lm_gym.agents.model.packed import AtCursors, Packed, entropy
from lm_gym.agents.model.padding import warn_if_padding_is_read
from lm_gym.agents.model.position_model import PositionModel, check_length
from lm_gym.agents.model.prompts import install, load_prompt, save_prompt
from lm_gym.agents.model.start import Start
from lm_gym.agents.model.text_encoder import TensorObservation, TextEncoder
from lm_gym.agents.model.tokenizer import check_tokenizer, save_tokenizer
from lm_gym.agents.model.waiting import WaitHead, load_wait_head, save_wait_head
from lm_gym.bounds import Fraction, NonNegativeFloat, PositiveFloat, bounded
from lm_gym.tokenizer import TextTokenizer

_FORBIDDEN = -1e8  # log-probability of a forbidden choice


@bounded
class LMPolicy(ActorCriticPolicy):
    """A policy made from a masked LM, causal LM, token or text classifier, for lm_gym's environments.

    It supports both units and both forms of actions. Each call encodes a text once, even if several rows play it, and
    runs the head only at positions. With `unit="token"`, in evaluation mode and without gradients, a text is encoded
    only when it starts or changes, or when the weights change; its other positions cost only the head. The critic is a
    linear layer on detached hidden states, so it does not affect the language model.

    If there is one more choice than there are tokens, the last choice leaves a position open, and a small head decides
    whether to fill a position (`WaitHead`).

    Args:
        observation_space: the environment's observation space (a Dict with input_ids, attention_mask, positions, …).
        action_space: Discrete(n), MultiDiscrete([n] * T), Box([n]) or Box([T, n]).
        lr_schedule: maps the remaining progress (1 → 0) to the learning rate.
        model: `"tiny"`, a local folder, a hub id, or a configuration dict (for new weights).
        head: `"vocabulary"` (of a language model), `"label_words"` (the same head, read at the words that stand for
            labels), `"labels"` (of a token classifier), `"text_labels"` (of a text classifier), `"pointer"` (of a
            token classifier with one label, read at the markers of the candidates in a text) or `"similarity"` (of a
            token classifier whose outputs are embeddings of a context and its candidates, encoded apart); None: the
            vocabulary if there are as many choices as tokens, else labels.
        labels: names of the choices of a head of labels, in order. Checkpoints store them, and rows of a checkpoint's
            head are matched by name (see `load_model`). None: the checkpoint's own names.
        label_words: the words for each label, from `policy_arguments` of the task; only for `head="label_words"`.
        pointer: how candidates are found in a text, from `policy_arguments` of the task; only for `head="pointer"` and
            `"similarity"`.
        facts: facts about the task that checkpoints store in their configuration, as `lm_gym`, from `policy_arguments`
            of the task.
        freeze: glob patterns over the names of parameters to freeze, such as `("*embeddings*",)`.
        head_lr_scale: learning rate of a head of labels and of the critic, as a multiple of the encoder's.
        weight_decay: AdamW's weight decay of matrices.
        temperature: divides the logits of the choices: below 1, samples are closer to the most probable choice.
        dropout: overrides the model's dropout probabilities; None keeps them.
        dtype: dtype of the weights: `"float32"`, `"bfloat16"` or `"float16"`.
        tokenizer: source of the tokenizer for save_pretrained; by default `model`.
        use_sde: must be False; exists for compatibility with Stable-Baselines3.

    Attributes:
        start: the model before any update; default settings depend on it.
        distinct: group size G > 0 (PPO sets it, for `unit="token"`): while a rollout is collected, rows k·G … k·G + G-1
            sample without replacement at the position that they share. 0: all rows sample independently.
        critic: function that gives the values [B, 1] of a rollout's steps in place of the linear layer (PPO sets it).

    Raises:
        ValueError: the spaces are not lm_gym's, the vocabularies of model and environment differ, the checkpoint lacks
            weights, or texts are too long for the model.
    """

    _read: th.Tensor  # attention mask of the texts that the last call encoded
    distinct: int = 0
    critic: Callable[[AtCursors, TensorObservation], th.Tensor] | None = None

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        model: str | dict[str, Any] = "tiny",
        head: Head | None = None,
        labels: Sequence[str] | None = None,
        label_words: Mapping[str, Any] | None = None,
        pointer: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        freeze: Sequence[str] = (),
        head_lr_scale: PositiveFloat = 5.0,
        weight_decay: NonNegativeFloat = 0.01,
        temperature: PositiveFloat = 1.0,
        dropout: Fraction | None = None,
        dtype: str = "float32",
        tokenizer: str | None = None,
        use_sde: bool = False,
    ) -> None:
        if use_sde:
            raise ValueError("use_sde=True: state-dependent exploration needs continuous actions; set it to False")
        BasePolicy.__init__(self, observation_space, action_space, normalize_images=False)
        self.unit, self.distribution, self.num_choices = read_action_space(action_space)
        vocabulary, self.max_length = read_observation_space(observation_space)
        self.waits = head in (None, "vocabulary") and self.num_choices == vocabulary + 1
        self.head, labels = resolve_head(head, labels, self.num_choices - self.waits, vocabulary)
        if (self.head == "label_words") != (label_words is not None):
            raise ValueError(f"head={self.head!r} and label_words={label_words!r}: give both or neither")
        if (self.head in CANDIDATE_HEADS) != (pointer is not None):
            raise ValueError(f"head={self.head!r} and pointer={pointer!r}: give both or neither")
        self._arguments: dict[str, Any] = {
            "head": self.head,
            "labels": None if self.head in CANDIDATE_HEADS else labels,  # their rows are not choices
            "label_words": None if label_words is None else dict(label_words),
            "pointer": None if pointer is None else dict(pointer),
            "facts": None if facts is None else dict(facts),
            "freeze": list(freeze),
            "head_lr_scale": head_lr_scale,
            "weight_decay": weight_decay,
            "temperature": temperature,
            "dropout": dropout,
            "dtype": dtype,
            "tokenizer": tokenizer or (model if isinstance(model, str) else None),
        }
        network, weights = load(model, self.head, labels=labels, dtype=dtype, dropout=dropout)
        self.start = Start(self.head, weights, network.config.hidden_size)
        check_vocabulary(network.config, vocabulary, model, self.tokenizer)
        if self.head in CLASSIFIERS and pointer is None:
            self._arguments["labels"] = label_names(network.config)
        if getattr(network.config, "lm_gym", None) != self._arguments["facts"]:
            network.config.lm_gym = self._arguments["facts"]
        freeze_parameters(network, self._arguments["freeze"], all_of_them=self.waits)
        self.language_model = PositionModel(network, classifies_texts=self.head == "text_labels")
        if label_words is not None:
            self.language_model.label_words = label_word_head(self.language_model, label_words)
        if pointer is not None:
            candidates = find_candidates(network.config, self.head, pointer, self.num_choices)
            self.language_model.candidates = candidates
        self.encoder = TextEncoder(self.language_model)
        self.check_length()
        warn_if_padding_is_read(network, self._longest, classifies_texts=self.head == "text_labels")
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
        if self.head in CLASSIFIERS:
            heads += head_parameters(network).values()
        self.optimizer = GroupedAdamW(
            parameter_groups(self, heads, head_lr_scale=head_lr_scale, weight_decay=weight_decay),
            lr=lr_schedule(1.0),
        )

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
        """Number of rows that the encoder reads for each text: one, or one for each part that it reads apart."""
        candidates = self.language_model.candidates
        return 1 if candidates is None else candidates.rows

    def check_length(self, prompt: int = 0) -> None:
        """Raise ValueError if texts with a prompt of `prompt` tokens, or their parts, are too long for the model."""
        check_length(self.network, self._longest, prompt)

    @property
    def _longest(self) -> int:
        """Maximum number of sub-tokens that the model reads at once."""
        candidates = self.language_model.candidates
        return (None if candidates is None else candidates.longest) or self.max_length

    @property
    def frozen(self) -> frozenset[str]:
        """Names of the frozen parameters."""
        return matching(self.network, self._arguments["freeze"])

    @property
    def tokenizer(self) -> str | None:
        """Source of the model's tokenizer: a folder, a hub id, `"tiny"`, or None if unknown."""
        source: str | None = self._arguments["tokenizer"]
        return source

    def check_tokenizer(self, tokenizer: TextTokenizer) -> None:
        """Check that a tokenizer is the model's own, if that is known.

        Raises:
            ValueError: the tokenizers differ; the message names a token.
        """
        if self.tokenizer is not None:
            check_tokenizer(self.tokenizer, tokenizer.tokenizer.get_vocab(), tokenizer.source)

    @property
    def temperature(self) -> float:
        """What the logits of the choices are divided by."""
        return float(self._arguments["temperature"])

    def config_kwargs(self) -> dict[str, Any]:
        """Return `policy_kwargs` that rebuild this policy without its initial checkpoint."""
        return {"model": self.network.config.to_dict(), **self._arguments}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            **self.config_kwargs(),
        }

    # ------------------------------------------------------------------ the model at positions

    def positions(self, obs: TensorObservation, slots: th.Tensor | None = None) -> Packed:
        """Encode a batch and run the head at its positions.

        Args:
            obs: tensors of the observation's arrays, [B, …].
            slots: int64 [B], one position of each text (with `unit="token"`: the cursor); None for all positions, or
                for those that are due in texts that take several steps.
        """
        rows, slots = self.places(obs, slots)
        hidden = self.encode(obs, rows, slots)
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
        columns = obs["positions"].long()[rows, slots]
        ids, attention = obs["input_ids"].long(), obs["attention_mask"].long()
        if "due" in obs and len(rows):  # rows without due positions are not read, and equal texts once
            used, row = th.unique(rows, return_inverse=True)
            first, text = distinct_texts(ids[used], attention[used])
            ids, attention, rows = ids[used][first], attention[used][first], text[row]
        self._read = attention
        return self.language_model.encode(ids, attention, rows, columns)

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

    def embeddings(self, observation: PyTorchObs) -> th.Tensor:
        """Return embeddings of the contexts and candidates of a batch, [B, n + 1, D], for `head="similarity"`.

        The policy is set to evaluation mode, and no gradients are computed.

        Raises:
            ValueError: the policy has another head.
        """
        self.set_training_mode(False)
        obs = _as_dict(self.obs_to_tensor(observation)[0])
        with th.inference_mode():
            return self.language_model.embeddings(obs["input_ids"].long(), obs["attention_mask"].long())

    def values(self, packed: Packed | AtCursors) -> th.Tensor:
        """Return the critic's value at each position, float32 [Q]; gradients stay in the critic."""
        values: th.Tensor = self.value_net(packed.hidden[..., : self.value_net.in_features].detach().float())
        return values.flatten(1).mean(1)  # of the candidates, with a pointer head

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; training mode forgets encoded texts, because weights will change."""
        if mode:
            self.encoder.forget()
        return super().train(mode)

    def _decide(self, obs: TensorObservation, action_masks: Any = None) -> Packed | AtCursors:
        """Return the policy's output at every position to decide: all positions, or the ones at the cursors.

        Args:
            obs: a batch, or with `unit="token"` texts and steps (see `TextEncoder.at_cursors`).
            action_masks: allowed choices, [B, n] or [B, T · n]; overrides the observation's mask.
        """
        if self.unit == "sequence":
            packed = self.positions(obs).restricted(action_masks)
            self.encoder.count(self._read, backward=th.is_grad_enabled())
            return packed
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

    # ------------------------------------------------------------------ Stable-Baselines3's interface

    def _predict(self, observation: PyTorchObs, deterministic: bool = False, action_masks: Any = None) -> th.Tensor:
        obs = _as_dict(observation)
        with self.encoder.uncounted():
            packed = self._decide(obs, action_masks)
        if self.distribution:
            lowest = float(self.action_space.low.min())  # type: ignore[attr-defined]
            return packed.unpack(_as_decided(packed, lowest).clamp(min=lowest))
        return packed.choose(deterministic)

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Return actions, values [B, 1] and log-probabilities [B], summed over the positions of a text.

        Args:
            obs: the observation.
            deterministic: whether to take the most probable choices.
            action_masks: allowed choices, [B, n] or (`unit="sequence"`) [B, T · n]; None for the observation's mask.
        """
        self._refuse_distribution()
        packed = self._decide(_as_dict(obs), action_masks)
        if self.distinct and isinstance(packed, AtCursors) and not deterministic:
            actions = packed.choose_distinct(self.distinct)
        else:
            actions = packed.choose(deterministic)
        if self.critic is not None and isinstance(packed, AtCursors):
            return actions, self.critic(packed, _as_dict(obs)), packed.log_prob(actions)
        return actions, self._text_values(packed), packed.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: th.Tensor, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
        """Return values [B, 1], log-probabilities [B] and entropies [B], summed over the positions of a text."""
        self._refuse_distribution()
        packed = self._decide(_as_dict(obs), action_masks)
        entropies = packed.total(entropy(packed.log_probs))
        return self._text_values(packed), packed.log_prob(actions.long()), entropies

    def get_distribution(self, obs: PyTorchObs, action_masks: Any = None) -> CategoricalDistribution:
        """Return the policy at the cursors as a Stable-Baselines3 distribution, twice differentiable for TRPO.

        Raises:
            ValueError: whole texts are decided at once.
        """
        self._refuse_distribution()
        if self.unit == "sequence":
            raise ValueError("a distribution over whole texts has no shape: make the environment with unit='token'")
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            packed = self._decide(_as_dict(obs), action_masks)
        logits = packed.unpack(packed.log_probs).clamp(min=_FORBIDDEN)  # -inf makes gradients of the KL NaN
        return CategoricalDistribution(self.num_choices).proba_distribution(logits)

    def predict_values(self, obs: PyTorchObs) -> th.Tensor:
        """Return the critic's value of each observation, [B, 1]."""
        return self._text_values(self._decide(_as_dict(obs)))

    def _text_values(self, packed: Packed | AtCursors) -> th.Tensor:
        """Return the value of each row [B, 1]: at the cursor, or the mean over positions (unit="sequence")."""
        return packed.mean(self.values(packed))[:, None]

    def _refuse_distribution(self) -> None:
        if self.distribution:
            raise ValueError(
                'actions="distribution" has no sampled action for a policy gradient: make the environment with '
                'actions="token"'
            )

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """Convert integer arrays to integer tensors, without one-hot encoding; add the batch dimension if missing."""
        return read_observation(observation, self.device)

    # ------------------------------------------------------------------ checkpoints

    def save_pretrained(self, folder: str | Path) -> None:
        """Write an ordinary Hugging Face checkpoint to `folder`: config with id2label, safetensors and tokenizer.

        A prompt is written to prompt.safetensors, which LMPolicy loads and other programs ignore.
        """
        self.network.save_pretrained(folder)
        if self.language_model.prompt is not None:
            save_prompt(self.language_model.prompt, folder)
        if self.wait_head is not None:
            save_wait_head(self.wait_head, folder)
        if self.tokenizer is not None:
            save_tokenizer(self.tokenizer, folder)
        if self.head == "label_words":
            Path(folder, "README.md").write_text(readme(self.network), encoding="utf-8")


def _as_decided(packed: Packed | AtCursors, lowest: float) -> th.Tensor:
    """Return log-probabilities [Q, n] whose largest is the policy's choice, including the decision to wait."""
    if not isinstance(packed, Packed) or packed.filled is None:
        return packed.log_probs
    waiting = (packed.most_probable() == packed.log_probs.shape[1] - 1)[:, None]
    tokens, wait = packed.log_probs[:, :-1], packed.log_probs[:, -1:]
    return th.cat([th.where(waiting, tokens.clamp(max=wait), tokens), wait.masked_fill(~waiting, lowest)], -1)


def _as_dict(obs: PyTorchObs) -> TensorObservation:
    assert isinstance(obs, dict), "LMPolicy acts on lm_gym's Dict observations"
    return obs
