"""Operators of evolutionary search as pure functions of arrays and a generator: selection, crossover, mutation.

Fitness is [n]; higher is better, and -inf marks a failed evaluation. Genes are [n, d]: real, binary (bool) or
categorical (int64). Generators are on the genes' device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch as th

from lm_gym.agents.search.optimizers.shaping import centred_ranks
from lm_gym.agents.search.population.domain import Domain

# ---------------------------------------------------------------- selection: fitness [n] -> indices of parents [count]


def roulette(fitness: th.Tensor, count: int, generator: th.Generator) -> th.Tensor:
    """Choose parents with probability proportional to f − min f, or uniformly if all tie; never failed ones."""
    worked = fitness > -th.inf
    weights = th.where(worked, fitness - th.where(worked, fitness, th.inf).min(), 0.0)
    if not weights.any():
        weights = worked.double() if worked.any() else th.ones_like(weights)
    return th.multinomial(weights, count, replacement=True, generator=generator)


def tournament(fitness: th.Tensor, count: int, generator: th.Generator, size: float = 3) -> th.Tensor:
    """Choose the best of `size` members drawn with replacement; among ties, the first drawn."""
    shape = (count, int(size))
    drawn = th.randint(len(fitness), shape, generator=generator, device=fitness.device)
    return drawn.gather(1, fitness[drawn].argmax(1, keepdim=True)).squeeze(1)


def rank(fitness: th.Tensor, count: int, generator: th.Generator, pressure: float = 1.8) -> th.Tensor:
    """Choose by linear ranking (Baker, 1985): the best `pressure` times as often as the mean, the worst 2 − `pressure`.

    Ties share the mean of their ranks. `pressure` ranges from 1 (uniform) to 2.
    """
    weights = th.as_tensor(1 + 2 * (pressure - 1) * centred_ranks(fitness.cpu().numpy()), device=fitness.device)
    return th.multinomial(weights, count, replacement=True, generator=generator)


def truncation(fitness: th.Tensor, count: int, generator: th.Generator, share: float = 0.5) -> th.Tensor:
    """Choose uniformly from the best fraction `share` of the members, at least one."""
    best = fitness.argsort(descending=True, stable=True)[: max(1, round(share * len(fitness)))]
    return best[th.randint(len(best), (count,), generator=generator, device=fitness.device)]


# ------------------------------------------------------------- crossover: two parents of each child -> children [n, d]


def single_point(a: th.Tensor, b: th.Tensor, generator: th.Generator) -> th.Tensor:
    """Take `a` up to a cut after gene 1 … d−1, and `b` from there."""
    n, d = a.shape
    cut = th.randint(1, max(d, 2), (n, 1), generator=generator, device=a.device)
    return th.where(th.arange(d, device=a.device) < cut, a, b)


def two_point(a: th.Tensor, b: th.Tensor, generator: th.Generator) -> th.Tensor:
    """Take `b` between two different cuts in 0 … d, and `a` elsewhere; at least one gene comes from `b`."""
    n, d = a.shape
    first = th.randint(d + 1, (n, 1), generator=generator, device=a.device)
    second = (first + th.randint(1, d + 1, (n, 1), generator=generator, device=a.device)) % (d + 1)
    at = th.arange(d, device=a.device)
    return th.where((at >= th.minimum(first, second)) & (at < th.maximum(first, second)), b, a)


def uniform(a: th.Tensor, b: th.Tensor, generator: th.Generator) -> th.Tensor:
    """Take each gene from either parent with equal probability."""
    return th.where(_coins(a.shape, generator), a, b)


def sbx(a: th.Tensor, b: th.Tensor, generator: th.Generator, eta: float = 15.0) -> th.Tensor:
    """Apply simulated binary crossover to real genes (Deb & Agrawal, 1995).

    With u uniform, β = (2u)^{1/(η+1)} for u ≤ 1/2, else (2(1 − u))^{−1/(η+1)}. The child is ((1 ± β) a + (1 ∓ β) b)/2
    with a random sign for each gene. A larger η gives children closer to a parent.
    """
    u = th.rand(a.shape, generator=generator, device=a.device, dtype=a.dtype)
    beta = th.where(u <= 0.5, 2 * u, 1 / (2 * (1 - u))) ** (1 / (eta + 1))
    beta = th.where(_coins(a.shape, generator), beta, -beta)
    return ((1 + beta) * a + (1 - beta) * b) / 2


# ------------------------------------------------------------------------------------------------- mutation, in place


def bit_flip(genes: th.Tensor, rate: float | th.Tensor, generator: th.Generator) -> th.Tensor:
    """Flip each bit with probability `rate` (a number, or [n, 1])."""
    return genes.logical_xor_(_chance(genes.shape, rate, generator))


def resample(genes: th.Tensor, rate: float | th.Tensor, choices: int, generator: th.Generator) -> th.Tensor:
    """Replace each gene with probability `rate` by another of its `choices` values, chosen uniformly."""
    other = th.randint(1, max(choices, 2), genes.shape, generator=generator, device=genes.device)
    return genes.add_(other.mul_(_chance(genes.shape, rate, generator))).remainder_(choices)


def gaussian(genes: th.Tensor, rate: float, step: float, generator: th.Generator, decades: float = 0.0) -> th.Tensor:
    """Move each real gene with probability `rate` by N(0, s²), with s between `step` and `step`/10^`decades`.

    s is log-uniform and drawn for each gene, so that some steps always have a useful size, as in the breeder genetic
    algorithm (Mühlenbein & Schlierkamp-Voosen, 1993). With 0 decades all steps have the same size.
    """
    at = _hits(genes.numel(), rate, generator)
    u = th.rand(len(at), generator=generator, device=genes.device, dtype=genes.dtype)
    noise = th.randn(len(at), generator=generator, device=genes.device, dtype=genes.dtype)
    genes.view(-1).index_add_(0, at, noise * step * 10 ** (-decades * u))
    return genes


# ------------------------------------------------------------------------------------------------------- first members


def scatter(initial: th.Tensor, domain: Domain, count: int, spread: float, generator: th.Generator) -> th.Tensor:
    """Draw members around the start, [count, d]; the first one is the start itself.

    Args:
        initial: [d], the start.
        domain: the domain of its entries.
        count: number of members.
        spread: a real entry is uniform within this distance of the start; an entry of another kind is redrawn from all
            its values with this probability.
        generator: source of randomness.
    """
    shape, device = (count, domain.dim), initial.device
    if domain.kind == "real":
        members = th.rand(shape, generator=generator, device=device, dtype=initial.dtype)
        members.mul_(2 * spread).sub_(spread).add_(initial)
    else:
        anew = th.randint(max(domain.choices, 2), shape, generator=generator, device=device).to(initial.dtype)
        members = th.where(_chance(shape, spread, generator), anew, initial)
    members[0] = initial
    return members


def diversity(members: th.Tensor) -> float:
    """Return the mean standard deviation of real entries, or the mean fraction of entries that differ from member 0."""
    if members.is_floating_point():
        return members.std(0, correction=0).mean().item()
    return (members != members[0]).double().mean().item()


def _chance(shape: tuple[int, ...], rate: float | th.Tensor, generator: th.Generator) -> th.Tensor:
    """Return True with probability `rate` (a number, or one for each row, [n, 1])."""
    if isinstance(rate, th.Tensor):
        return th.rand(shape, generator=generator, device=generator.device) < rate
    mask = th.zeros(shape, dtype=th.bool, device=generator.device)
    mask.view(-1)[_hits(mask.numel(), rate, generator)] = True
    return mask


def _hits(count: int, rate: float, generator: th.Generator) -> th.Tensor:
    """Return the sorted successes among `count` trials of probability `rate`, in time proportional to their number.

    The gaps between successes are ⌈ln u/ln(1 − rate)⌉ trials with u uniform in (0, 1]. The number of draws suffices
    except once in 1e9 times, when the last few trials count as failed.
    """
    if rate <= 0:
        return th.empty(0, dtype=th.int64, device=generator.device)
    mean = count * rate
    draws = int(mean + 6 * math.sqrt(mean) + 20)
    u = 1 - th.rand(draws, generator=generator, device=generator.device, dtype=th.float64)
    log = math.log1p(-rate) if rate < 1 else -math.inf
    gaps = (u.log() / log).ceil().clamp(1, count + 1).long()
    at = gaps.cumsum(0) - 1
    return at[at < count]


def _coins(shape: tuple[int, ...], generator: th.Generator) -> th.Tensor:
    """Draw fair coins, 64 from each random number."""
    count, device = math.prod(shape), generator.device
    numbers = th.empty(-(-count // 64), dtype=th.int64, device=device)
    octets = numbers.random_(-(2**63), None, generator=generator).view(th.uint8)
    powers = th.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=th.uint8, device=device)
    return (octets[:, None] & powers).ne(0).view(-1)[:count].view(shape)


SELECTIONS: dict[str, Callable[..., th.Tensor]] = {
    "roulette": roulette,
    "tournament": tournament,
    "rank": rank,
    "truncation": truncation,
}
CROSSOVERS: dict[str, Callable[[th.Tensor, th.Tensor, th.Generator], th.Tensor]] = {
    "single_point": single_point,
    "two_point": two_point,
    "uniform": uniform,
    "sbx": sbx,
}
