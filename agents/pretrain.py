"""Pretrain a small BERT by masked language modelling on the builtin data.

The default arguments produce the shipped model, `tiny`. It trains only on the train splits and on further unlabelled
sentences from the grammar of the NER train split, and reports perplexity on the validation splits.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from jsonargparse import auto_cli

from lm_gym.agents.runs.messages import fail
from lm_gym.agents.runs.program import program
from lm_gym.bounds import Interval, NonNegativeInt, PositiveFloat, PositiveInt, bounded

log = logging.getLogger(__name__)


@bounded
def pretrain(
    output: Path,
    passes: PositiveInt = 3,
    seed: NonNegativeInt = 0,
    vocabulary: PositiveInt = 4_096,
    hidden: Annotated[int, Interval(32)] = 128,
    layers: PositiveInt = 4,
    extra_sentences: NonNegativeInt = 45_000,
    prose_weight: NonNegativeInt = 10,
    learning_rate: PositiveFloat = 1.5e-3,
) -> None:
    """Train a tokenizer and a BERT, report perplexity on held-out texts, and save a checkpoint in float16.

    Args:
        output: a new folder.
        passes: number of passes over the text.
        seed: seed of initial weights, order and masks.
        vocabulary: number of entries in the WordPiece vocabulary.
        hidden: width of the model. It has one attention head per 32, and feed-forward layers of four times the width.
        layers: number of transformer layers.
        extra_sentences: number of further sentences from the NER train grammar.
        prose_weight: number of visits to each text of the masked-LM corpus per pass.
        learning_rate: peak learning rate.

    Raises:
        FileExistsError: `output` exists.
        ValueError: a number is out of range.
    """
    if hidden % 32:
        raise ValueError(f"hidden must be a multiple of 32, got {hidden}: there is one attention head for every 32")
    if output.exists():
        raise FileExistsError(f"{output} already exists and is not overwritten: name a new folder")
    log.info("pretraining %s: loading …", output)
    from lm_gym.agents.model.pretraining import pretrain_tiny  # loads the model libraries

    pretrain_tiny(output, passes, seed, vocabulary, hidden, layers, extra_sentences, prose_weight, learning_rate)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = None if arguments is None else list(arguments)
    try:
        auto_cli(pretrain, args=given, as_positional=False, prog=program("pretrain"))
    except (FileExistsError, ValueError) as error:
        fail(program("pretrain"), error)


if __name__ == "__main__":
    main()
