"""Pretraining of a small BERT by masked language modelling on the builtin texts, as it made `tiny`."""

import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from lm_gym.builtin.masked_lm import masked_lm_splits
from lm_gym.builtin.ner import generate, ner_splits

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
_LENGTH = 256  # tokens
_MASKED = 0.15
_TOKENS_IN_BATCH = 512

log = logging.getLogger(__name__)


def build_tokenizer(texts: list[list[str]], vocabulary: int) -> Tokenizer:
    """Train a cased WordPiece tokenizer with `vocabulary` entries on texts of words.

    The trainer numbers the characters inside words (`##a`) in the order of a hash table, which varies between runs and
    breaks ties. Passing them first, sorted, as special tokens makes the result reproducible.
    """
    characters = sorted({character for words in texts for word in words for character in word})
    first = [*SPECIAL, *(f"##{character}" for character in characters)]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, min_frequency=2, special_tokens=first, show_progress=False
    )
    tokenizer.train_from_iterator((" ".join(words) for words in texts), trainer)
    finished = Tokenizer(models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]"))
    finished.normalizer, finished.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    finished.decoder = decoders.WordPiece()
    finished.add_special_tokens(list(SPECIAL))
    finished.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))],
    )
    return finished


def encode(tokenizer: Tokenizer, texts: list[list[str]]) -> list[torch.Tensor]:
    """Return the ids of each text, with `[CLS]` and `[SEP]`, truncated to 256 tokens."""
    encodings = tokenizer.encode_batch(texts, is_pretokenized=True)
    return [torch.tensor(encoding.ids[:_LENGTH]) for encoding in encodings]


def plan(texts: list[torch.Tensor], generator: np.random.Generator) -> list[list[int]]:
    """Return one pass over `texts`: batches of up to 512 tokens with texts of similar length, in random order."""
    jitter = generator.random(len(texts))
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]) + 3 * jitter[i], i))
    rows: list[list[int]] = [[]]
    longest = 0
    for i in order:
        longest = max(longest, len(texts[i]))
        if rows[-1] and (len(rows[-1]) + 1) * longest > _TOKENS_IN_BATCH:
            rows.append([])
            longest = len(texts[i])
        rows[-1].append(i)
    return [rows[i] for i in generator.permutation(len(rows))]


def pad(texts: list[torch.Tensor], row: list[int]) -> torch.Tensor:
    """Return the texts of a batch as int64 [B, L], padded with 0."""
    return torch.nn.utils.rnn.pad_sequence([texts[i] for i in row], batch_first=True)


def mask_tokens(
    input_ids: torch.Tensor, vocabulary: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask 15% of the tokens: 80% of them become `[MASK]`, 10% a random token, 10% stay (BERT, section 3.1).

    Args:
        input_ids: int64 [B, L]; special tokens are never masked.
        vocabulary: number of ids.
        generator: source of randomness; its state advances.

    Returns:
        The masked ids, int64 [B, L], and the positions of masked tokens, bool [B, L].
    """
    special = len(SPECIAL)
    chosen = (torch.rand(input_ids.shape, generator=generator) < _MASKED) & (input_ids >= special)
    kind = torch.rand(input_ids.shape, generator=generator)
    random_ids = torch.randint(special, vocabulary, input_ids.shape, generator=generator)
    masked = input_ids.where(~chosen | (kind >= 0.8), SPECIAL.index("[MASK]"))
    return masked.where(~chosen | (kind < 0.8) | (kind >= 0.9), random_ids), chosen


def masked_loss(model: BertForMaskedLM, input_ids: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the cross-entropy of the masked tokens, [M]; logits are computed only there."""
    masked, chosen = mask_tokens(input_ids, model.config.vocab_size, generator)
    hidden = model.bert(masked, attention_mask=(input_ids != 0).long()).last_hidden_state  # [B, L, d]
    return cross_entropy(model.cls(hidden[chosen]), input_ids[chosen], reduction="none")


@torch.no_grad()
def perplexity(model: BertForMaskedLM, texts: list[torch.Tensor]) -> float:
    """Return exp of the mean masked cross-entropy, with fixed masks of `texts`."""
    model.eval()  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(0)
    rows = plan(texts, np.random.default_rng(0))
    losses = torch.cat([masked_loss(model, pad(texts, row), generator) for row in rows])
    model.train()
    return math.exp(losses.mean().item())


def train(model: BertForMaskedLM, texts: list[torch.Tensor], passes: int, learning_rate: float, seed: int) -> None:
    """Train with AdamW, a linear warmup over a twentieth of the updates, and a linear decay to zero."""
    numbers = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    rows = [row for _ in range(passes) for row in plan(texts, numbers)]
    total = len(rows)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / (0.05 * total + 1), (total - step) / (0.95 * total)),
    )
    bar = tqdm(rows, unit="update", mininterval=1.0)
    mean = float("nan")
    model.train()
    for row in bar:
        loss = masked_loss(model, pad(texts, row), generator).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
        bar.set_postfix(loss=f"{mean:.3f}", refresh=False)


def save(model: BertForMaskedLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model (in float16) and the tokenizer as an ordinary Hugging Face folder."""
    folder.mkdir(parents=True)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    roles = {f"{token.strip('[]').lower()}_token": token for token in SPECIAL}  # pad_token and so on
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=_LENGTH, **roles)  # type: ignore[no-untyped-call]
    wrapped.save_pretrained(folder)


def pretrain_tiny(
    output: Path,
    passes: int,
    seed: int,
    vocabulary: int,
    hidden: int,
    layers: int,
    extra_sentences: int,
    prose_weight: int,
    learning_rate: float,
) -> None:
    """Do the work of `lm_gym.agents.pretrain.pretrain`, which checks and documents the arguments."""
    torch.set_num_threads(1)  # the number of threads changes the order of sums, and so the weights
    torch.manual_seed(seed)
    start = time.monotonic()
    prose, tagged = masked_lm_splits(), ner_splits()
    sentences = [words for words, _ in tagged["train"] + generate("train", extra_sentences, stream=1)]
    tokenizer = build_tokenizer(sentences + prose_weight * prose["train"], vocabulary)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        intermediate_size=4 * hidden,
        max_position_embeddings=_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForMaskedLM(config)
    log.info("%d parameters, vocabulary %d", model.num_parameters(), config.vocab_size)
    train(model, encode(tokenizer, sentences + prose_weight * prose["train"]), passes, learning_rate, seed)
    held_out = {"masked_lm": prose["validation"], "ner": [words for words, _ in tagged["validation"]]}
    for name, texts in held_out.items():
        log.info("perplexity, builtin/%s validation: %.2f", name, perplexity(model, encode(tokenizer, texts)))
    log.info("%.0f seconds", time.monotonic() - start)
    save(model, tokenizer, output)
