"""The order in which texts are played."""

import numpy as np
import pytest

from lm_gym.envs.sampler import SAMPLINGS, Sampler


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("num_texts", [1, 2, 7, 1000, 5001])
def test_every_epoch_has_every_text_once(sampling, num_texts):
    lengths = np.random.default_rng(0).integers(3, 60, num_texts)
    sampler = Sampler(sampling, lengths, 4)
    sampler.restart(9)
    texts, visits = sampler.take(2 * num_texts)
    if sampling == "bucketed":  # windows may span two epochs, so texts may come up to one window early or late
        window = 4 * min(50, max(1, num_texts // 4))
        more, and_visits = sampler.take(window)
        texts, visits = np.concatenate([texts, more]), np.concatenate([visits, and_visits])
        for visit in (0, 1):
            assert sorted(texts[visits == visit].tolist()) == list(range(num_texts))
        return
    assert sorted(texts[:num_texts].tolist()) == sorted(texts[num_texts:].tolist()) == list(range(num_texts))
    assert (visits == np.repeat([0, 1], num_texts)).all()
    if sampling == "sequential":
        assert (texts == np.tile(np.arange(num_texts), 2)).all()
    elif num_texts > 5:
        assert (texts[:num_texts] != texts[num_texts:]).mean() > 0.5


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_draws_are_the_whole_state_of_the_sampler(sampling):
    lengths = np.random.default_rng(0).integers(3, 60, 500)
    whole = Sampler(sampling, lengths, 8)
    whole.restart(4)
    texts, visits = whole.take(1200)
    for start in (0, 1, 37, 399, 400, 1100):
        part = Sampler(sampling, lengths, 8)
        part.restart(4, start)
        again, seen = part.take(100)
        assert (again == texts[start : start + 100]).all()
        assert (seen == visits[start : start + 100]).all()


def test_buckets_have_little_padding_and_come_in_no_order():
    lengths = np.random.default_rng(0).integers(5, 100, 4000)

    def padding(sampling):
        sampler = Sampler(sampling, lengths, 16)
        sampler.restart(1)
        batches = lengths[sampler.take(3200)[0]].reshape(-1, 16)
        return (batches.max(1) - batches.mean(1)).mean(), batches.mean(1)

    shuffled, bucketed = padding("shuffled"), padding("bucketed")
    assert bucketed[0] < 0.15 * shuffled[0]
    assert abs(np.corrcoef(bucketed[1][:-1], bucketed[1][1:])[0, 1]) < 0.3
