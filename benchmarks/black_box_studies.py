"""The studies of gradient-free search; see studies.py. A budget counts a text once for each member of a population."""

from __future__ import annotations

import shlex

from studies import LM, NER, Row, Study

OFTEN = "--evaluation.every_passes 2"
FROZEN = """--algo supervised --policy.freeze '["bert.*"]' --agent.learning_rate 1.0e-2"""
FEW, MANY = "--env.num_envs 8", "--env.num_envs 32"  # texts of a generation: few where the optimizer averages over time


def search(algo: str, more: str = "", **optimizer: object) -> str:
    """Command-line options of a search."""
    given = ", ".join(f"{name}: {value}" for name, value in optimizer.items())
    return f"--algo {algo} {more}" + (f" --agent.optimizer_kwargs {shlex.quote('{' + given + '}')}" if given else "")


def head(algo: str, more: str, budget: int = 600_000) -> str:
    """A search of the fresh head of the builtin NER."""
    return f"{search(algo, more)} --budget.forward_passes {budget} {OFTEN}"


def lm(options: str, budget: int = 60_000) -> str:
    """A search from `tiny` as shipped, judged by perplexity."""
    masked = "--env.id lm_gym/MaskedLM-v0 --env.num_envs 16 --evaluation.metric perplexity"
    return f"{options} {masked} --budget.forward_passes {budget}"


TENTH = "supervised, a tenth of the passes"
F1 = "--env.reward f1 --env.num_envs 64 --evaluation.every_passes 0.5"
BLACK_BOX = {
    "black_box_ner": Study(
        "Builtin NER, a fresh head on `tiny`, fitness log-likelihood, equal forward passes",
        "test",
        NER,
        (
            Row("supervised head", f"{FROZEN} --budget.passes 5"),
            Row("random_search", head("random_search", MANY)),
            Row("es", head("es", FEW)),
            Row("es, five times the forward passes", head("es", FEW, 3_000_000)),
            Row("snes", head("snes", FEW)),
            Row("cmaes", head("cmaes", MANY)),
            Row("low_rank_es", head("low_rank_es", FEW)),
            Row("mezo", head("mezo", FEW)),
            Row("pso", head("pso", MANY)),
            Row("de", head("de", MANY)),
            Row("ga", head("ga", MANY)),
            Row("sa", head("sa", MANY)),
        ),
    ),
    "black_box_f1": Study(
        "Builtin NER, entity F1 as fitness, from the twin after a tenth of its passes",
        "test",
        NER,
        (
            Row(TENTH, "--config configs/ner_supervised.yaml --budget.passes 0.5", seeds=1),
            Row("reinforce on f1", "--config configs/ner_reinforce_f1.yaml", TENTH),
            Row(
                "es",
                f"{search('es', F1, popsize=64, sigma=0.1, learning_rate=0.02)} --budget.forward_passes 300000",
                TENTH,
            ),
            Row("snes", f"{search('snes', F1, popsize=64, sigma=0.1)} --budget.forward_passes 300000", TENTH),
            Row("ga", f"{search('ga', F1, popsize=64)} --budget.forward_passes 300000", TENTH),
        ),
    ),
    "black_box_masked_lm": Study(
        "Masked LM, builtin prose, `tiny` as shipped as the start, fitness log-likelihood",
        "test",
        LM,
        (
            Row("es, soft prompt", lm(search("es", "--agent.search_space soft_prompt", popsize=32))),
            Row("es, LoRA", lm(search("es", "--agent.search_space lora", popsize=32))),
            Row("es, biases", lm(search("es", "--agent.search_space bias", popsize=32))),
            Row("low_rank_es, all weights", lm(search("low_rank_es", "--agent.search_space full", popsize=32))),
            Row("ga, discrete prompt", lm(search("ga", "--agent.search_space discrete_prompt", popsize=32))),
        ),
    ),
    "black_box_conll": Study(
        "CoNLL-2003, a fresh head on frozen MiniLM: gradient-free search against the supervised probe",
        "validation",
        NER,
        (
            Row("supervised head", f"{FROZEN} --budget.passes 2"),
            Row("es", head("es", FEW, 1_500_000)),
            Row("low_rank_es", head("low_rank_es", FEW, 1_500_000)),
        ),
    ),
}
