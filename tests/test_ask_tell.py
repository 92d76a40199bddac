"""The contract of every optimizer in OPTIMIZERS."""

import inspect
import json

import numpy as np
import pytest
import safetensors.torch
import torch as th

from lm_gym.agents.algorithms.plain_values import Packer, Unpacker
from lm_gym.agents.search.optimizers import OPTIMIZERS
from lm_gym.agents.search.optimizers.optimizer import StructuredOptimizer
from lm_gym.agents.search.population.domain import Block, Domain

BLOCKS = (Block("w", (4, 3), 0.5), Block("b", (4,), 0.1))
TARGET = th.linspace(-1, 1, 16)
DOMAINS = {"real": Domain("real", 16), "binary": Domain("binary", 16, 2), "categorical": Domain("categorical", 16, 5)}
CASES = [(name, kind) for name, optimizer in OPTIMIZERS.items() for kind in sorted(optimizer.kinds)]
every = pytest.mark.parametrize(("name", "kind"), CASES)


def start(kind):
    return th.zeros(16, dtype={"real": th.float32, "binary": th.bool, "categorical": th.int64}[kind])


OPTIONS = {  # for optimizers whose defaults suit models, not a bowl in 16 dimensions
    "mezo": {"learning_rate": 0.02},
    "fzoo": {"learning_rate": 0.05},
    "hizoo": {"learning_rate": 0.02, "popsize": 6},
    **{name: {"popsize": 16} for name in ("zo_sgd", "lozo", "subzero")},
}


def make(name, kind, seed=0, **options):
    optimizer, options = OPTIMIZERS[name], OPTIONS.get(name, {}) | options
    if issubclass(optimizer, StructuredOptimizer):
        return optimizer([th.zeros(block.shape) for block in BLOCKS], BLOCKS, seed=seed, **options)
    return optimizer(start(kind), DOMAINS[kind], seed=seed, **options)


def score(vectors, kind):
    """Return the fitness [P] of members, which is highest at a target away from the start."""
    if kind == "real":
        return -(vectors.float() - TARGET).square().sum(-1)
    return (vectors.long() == th.arange(16) % (2 if kind == "binary" else 5)).sum(-1).float()


def answer(optimizer):
    """Return a copy of the centre as one vector in natural steps."""
    if not isinstance(optimizer, StructuredOptimizer):
        return optimizer.centre.clone()
    return th.cat([x.flatten() / b.scale for x, b in zip(optimizer.centre, optimizer.blocks, strict=True)])


def members(optimizer):
    """Return the members as vectors in natural steps, [P, d]."""
    moved = optimizer.ask().vectors()
    return moved + answer(optimizer) if isinstance(optimizer, StructuredOptimizer) else moved


def generations(optimizer, kind, count):
    for _ in range(count):
        optimizer.tell(score(members(optimizer), kind))


def saved(state):
    """Return the state as a checkpoint restores it; it may contain only plain values and tensors."""
    packer = Packer()
    text = json.dumps(packer.pack(state, "state"), allow_nan=False)
    return Unpacker(safetensors.torch.load(safetensors.torch.save(packer.tensors)), "cpu").unpack(json.loads(text))


@every
def test_the_start_improves(name, kind):
    optimizer = make(name, kind)
    before = score(answer(optimizer), kind).item()
    generations(optimizer, kind, 200)
    assert score(answer(optimizer), kind).item() > before
    assert optimizer.generation == 200
    assert optimizer.evaluations == 200 * optimizer.popsize
    assert all(np.isfinite(value) for value in optimizer.logs().values())


@every
def test_members_are_vectors_of_the_domain(name, kind):
    optimizer = make(name, kind)
    for _ in range(3):
        vectors = members(optimizer)
        assert vectors.shape == (optimizer.popsize, 16)
        assert vectors.dtype == start(kind).dtype
        if kind == "categorical":
            assert 0 <= int(vectors.min()) <= int(vectors.max()) < 5
        optimizer.tell(score(vectors, kind))


DENSE = [case for case in CASES if not OPTIMIZERS[case[0]].structured]
NOISY = [case for case in DENSE if "reevaluate" in inspect.signature(OPTIMIZERS[case[0]]).parameters]
CHOICES = {
    "es": [{"rule": "sgd", "shaping": "z_scores"}, {"averaging": 0.9, "decay": 0.99, "weight_decay": 0.01}],
    "low_rank_es": [
        {"rank": None},
        {"rule": "adam", "shaping": "centred_ranks"},
        {"weight_decay": 0.1, "scaling": "root", "rule": "momentum"},
    ],
    "pgpe": [{"rule": "sgd", "shaping": "z_scores", "decay": 0.99}],
    "ars": [{"top": 1.0, "decay": 0.99}],
    "hizoo": [{"smoothing": 0.1, "weight_decay": 0.01, "decay": 0.99}],
    "pso": [{"inertia": "linear", "neighbourhood": "ring"}, {"inertia": "constriction", "bound": 1.0}],
    "ga": [{"selection": x, "crossover": y} for x, y in (("rank", "two_point"), ("roulette", "single_point"))],
    "de": [{"variant": "rand/1/bin", "bound": 1.0}, {"variant": "best/1/bin", "adaptive": False}],
    "sa": [{"restart_after": 2, "cooling": "linear"}, {"temperature": 1.0, "cooling": "logarithmic"}],
    "mezo": [{"clip": 1.0, "popsize": 8}, {"adaptive": True, "weight_decay": 0.01, "scaling": "root"}],
    "zo_sgd": [{"rule": x} for x in ("sgd", "sign", "adam", "r_adazo")] + [{"rank": 1, "adaptive": False}],
    "fzoo": [{"popsize": 18, "rank": 1, "weight_decay": 0.01}],
    "lozo": [{"momentum": 0.9, "interval": 2}, {"adaptive": False, "learning_rate": 0.02}],
    "subzero": [{"interval": 2, "weight_decay": 0.01}],
}
VARIANTS = [(*case, {}) for case in CASES] + [(*case, {"reevaluate": False}) for case in NOISY]
VARIANTS += [(name, kind, options) for name, kind in CASES for options in CHOICES.get(name, [])]
every_variant = pytest.mark.parametrize(("name", "kind", "options"), VARIANTS)


@every_variant
def test_members_stay_as_they_were_asked(name, kind, options):
    optimizer, held = make(name, kind, **options), []
    for _ in range(4):
        vectors = members(optimizer)
        held.append((vectors, vectors.clone()))
        optimizer.tell(score(vectors, kind))
    assert all(th.equal(now, then) for now, then in held)


@every
def test_the_same_members_until_told_and_the_same_run_for_the_same_seed(name, kind):
    one, two, other = make(name, kind), make(name, kind), make(name, kind, seed=1)
    assert one.ask() is one.ask()
    for optimizer in (one, two, other):
        generations(optimizer, kind, 4)
    assert th.equal(members(one), members(two))
    assert not th.equal(members(one), members(other))


@every_variant
def test_a_state_goes_on_bit_for_bit_from_between_and_within_generations(name, kind, options):
    whole = make(name, kind, **options)
    generations(whole, kind, 5)
    between = saved(whole.state_dict())
    tensors = [x.clone() for x in whole.centre] if whole.structured else None
    whole.ask()
    within = saved(whole.state_dict())
    told = score(members(whole), kind)
    asked = members(whole)
    whole.tell(told)
    generations(whole, kind, 4)
    for state in (between, within):
        resumed = make(name, kind, seed=99, **options)
        if tensors is not None:  # a structured optimizer's centre is saved with the model
            for mine, value in zip(resumed.centre, tensors, strict=True):
                mine.copy_(value)
        resumed.load_state_dict(state)
        assert th.equal(members(resumed), asked)
        resumed.tell(told)
        generations(resumed, kind, 4)
        assert th.equal(answer(resumed), answer(whole))
        assert th.equal(members(resumed), members(whole))


@every
def test_a_state_of_another_optimizer_is_refused(name, kind):
    state = make(name, kind).state_dict()
    with pytest.raises(ValueError, match="popsize"):
        make(name, kind).load_state_dict(state | {"popsize": 1000})
    with pytest.raises(ValueError, match="optimizer='Other'"):
        make(name, kind).load_state_dict(state | {"optimizer": "Other"})


@every_variant
def test_failed_members_are_never_taken_and_a_failed_generation_teaches_nothing(name, kind, options):
    optimizer = make(name, kind, **options)
    before = answer(optimizer)
    optimizer.tell(th.full((optimizer.popsize,), th.nan))
    assert th.equal(answer(optimizer), before)
    for _ in range(60):
        vectors = members(optimizer)
        far = vectors.float().mean(-1) > vectors.float().mean(-1).median()  # the better of them fail
        optimizer.tell(th.where(far, th.nan, vectors.float().mean(-1)))
        assert answer(optimizer).double().isfinite().all()
    assert optimizer.generation == 61


@every
def test_constant_fitness_does_not_move_the_centre_of_a_distribution(name, kind):
    optimizer = make(name, kind)
    before = answer(optimizer).double()
    for _ in range(50):
        optimizer.tell(th.full((optimizer.popsize,), 0.1))
    if name in ("random_search", "sa", "ga", "pso", "de"):  # their result is one of several equal members
        return
    assert (answer(optimizer).double() - before).norm() <= 1e-12


@every
def test_the_global_random_states_stay_as_they_were(name, kind):
    torch_before, numpy_before = th.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    generations(make(name, kind), kind, 3)
    assert th.equal(torch_before, th.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all()  # noqa: NPY002


@every
def test_fitness_of_the_wrong_shape_or_infinite_is_refused(name, kind):
    optimizer = make(name, kind)
    with pytest.raises(ValueError, match="one number for each of"):
        optimizer.tell(th.zeros(optimizer.popsize + 1))
    with pytest.raises(ValueError, match=r"\+inf"):
        optimizer.tell(th.full((optimizer.popsize,), th.inf))


@pytest.mark.parametrize(("name", "kind"), DENSE)
def test_what_does_not_fit_the_domain_is_refused(name, kind):
    optimizer = OPTIMIZERS[name]
    with pytest.raises(ValueError, match="popsize"):
        optimizer(start(kind), DOMAINS[kind], popsize=-1)
    with pytest.raises(ValueError, match="shape"):
        optimizer(start(kind)[:3], DOMAINS[kind])
    for other in {"real", "binary", "categorical"} - optimizer.kinds:
        with pytest.raises(ValueError, match=f"not {other} ones"):
            optimizer(start(other), DOMAINS[other])


@pytest.mark.parametrize(("name", "kind"), NOISY)
def test_a_lucky_evaluation_does_not_last_where_members_are_evaluated_again(name, kind):
    """The first generation gets an inflated fitness: members that keep it never move again, reevaluated ones do."""
    moved = {}
    for reevaluate in (False, True):
        optimizer = make(name, kind, reevaluate=reevaluate)
        optimizer.tell(score(members(optimizer), kind) + 1e6)
        before = score(answer(optimizer), kind).item()
        generations(optimizer, kind, 200)
        moved[reevaluate] = score(answer(optimizer), kind).item() > before
    assert moved == {False: False, True: True}
