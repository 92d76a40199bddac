"""Texts of random words and tags, and the environments that play them."""

import gymnasium
import numpy as np

import lm_gym

IDS = ("lm_gym/NER-v0", "lm_gym/MaskedLM-v0")
NER, MASKED = IDS
PROSE = "the river runs to a house of many rooms where an old man reads about Paris and Mary Jones"
TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-MISC", "I-MISC")


def letters(num_texts, seed):
    """Return texts of 3 to 14 words with random tags."""
    rng = np.random.default_rng(seed)
    for length in rng.integers(3, 15, num_texts):
        yield rng.choice(PROSE.split(), length).tolist(), ["O", *rng.choice(TAGS, length - 1).tolist()]


TAGGED = lm_gym.Dataset.from_sentences(
    "tagged", letters(60, 0), letters(20, 1), letters(20, 2), scheme="conlleval", max_overlap=1
)
DATA = dict.fromkeys(IDS, TAGGED)


def vector(id_=NER, num_envs=4, **options):
    """Make a vector environment."""
    return gymnasium.make_vec(id_, num_envs=num_envs, dataset=DATA[id_], **options)


def single(id_=NER, **options):
    """Make a single environment."""
    return gymnasium.make(id_, dataset=DATA[id_], **options)


def playable(targets, choices):
    """Return the gold choices, 0 where padded."""
    return np.where(targets < choices, targets, 0)
