"""The studies of gradient-free search; see studies.py. A budget counts a text once for each member of a population."""

from __future__ import annotations

import shlex

from studies import LM, NER, Row, Study

FROZEN = """--algo supervised --policy.freeze '["bert.*"]' --agent.learning_rate 1.0e-2"""


def search(algo: str, more: str = "", **optimizer: object) -> str:
    """Command-line options of a search."""
    given = ", ".join(f"{name}: {value}" for name, value in optimizer.items())
    return f"--algo {algo} {more}" + (f" --agent.optimizer_kwargs {shlex.quote('{' + given + '}')}" if given else "")


def head(algo: str, texts: int, popsize: int, more: str = "", budget: int = 6_000_000, **optimizer: object) -> str:
    """A search of the fresh head, `texts` a generation, about 20 evaluations on the way. The corpus has 3,000 texts."""
    every = f"--evaluation.every_passes {budget / popsize / 3_000 / 20:.2g} --checkpoint.every_passes 1000"
    return (
        f"{search(algo, more, popsize=popsize, **optimizer)} --env.num_envs {texts} "
        f"--budget.forward_passes {budget} {every}"
    )


def lm(options: str, budget: int = 16_000) -> str:
    """A search from `tiny` as shipped, judged by perplexity."""
    masked = (
        "--env.id lm_gym/MaskedLM-v0 --env.num_envs 16 --evaluation.metric perplexity --evaluation.every_passes 0.1"
    )
    return f"{options} {masked} --budget.forward_passes {budget}"


SPACE = "--agent.search_space "
SOME = "--evaluation.texts 1000"  # while training; the best model is evaluated on all
TENTH = "supervised, a tenth of the passes"
F1 = "--env.reward f1 --env.num_envs 64 --evaluation.every_passes 1 --budget.forward_passes 1500000"
BLACK_BOX = {
    "black_box_ner": Study(
        "Builtin NER, a fresh head on `tiny`, fitness log-likelihood, equal forward passes",
        "test",
        NER,
        (
            Row("supervised head", f"{FROZEN} --budget.passes 5"),
            Row("random_search", head("random_search", 64, 64)),
            Row("es", head("es", 8, 256, learning_rate=0.1, decay=0.9992)),
            Row("snes", head("snes", 8, 256)),
            Row("sep_cma_es", head("snes", 32, 64, "--agent.optimizer sep_cma_es", sigma=0.2)),
            Row("cmaes", head("cmaes", 32, 64)),
            Row("low_rank_es", head("low_rank_es", 8, 256, learning_rate=0.1, decay=0.9992)),
            Row("mezo", head("mezo", 8, 128)),
            Row("pso", head("pso", 32, 64)),
            Row("de", head("de", 64, 64)),
            Row("ga", head("ga", 16, 64, mutation_rate=0.1, mutation_step=0.1)),
            Row("sa", head("sa", 64, 64)),
        ),
    ),
    "black_box_f1": Study(
        "Builtin NER, entity F1 as fitness, from the twin after a tenth of its passes",
        "test",
        NER,
        (
            Row(TENTH, "--config configs/ner_supervised.yaml --budget.passes 0.5", seeds=1),
            Row("reinforce on f1", "--config configs/ner_reinforce_f1.yaml", TENTH),
            Row("es", search("es", F1, popsize=64, sigma=0.1, learning_rate=0.02, averaging=0.95), TENTH),
            Row("snes", search("snes", F1, popsize=64, sigma=0.3), TENTH),
            Row("ga", search("ga", F1, spread=0.1, mutation_rate=0.1, mutation_step=0.05), TENTH),
        ),
    ),
    "black_box_masked_lm": Study(
        "Masked LM, builtin prose, `tiny` as shipped as the start, fitness log-likelihood",
        "test",
        LM,
        (
            Row("es, soft prompt", lm(search("es", SPACE + "soft_prompt", popsize=32, sigma=0.3, learning_rate=0.1))),
            Row("es, LoRA", lm(search("es", SPACE + "lora", popsize=32, sigma=0.3, learning_rate=0.01))),
            Row("es, biases", lm(search("es", SPACE + "bias", popsize=32, learning_rate=0.002))),
            Row("low_rank_es, all weights", lm(search("low_rank_es", SPACE + "full", popsize=32, learning_rate=0.001))),
            Row("ga, discrete prompt", lm(search("ga", SPACE + "discrete_prompt", popsize=32))),
        ),
        before="perplexity",
    ),
    "black_box_conll": Study(
        "CoNLL-2003, a fresh head on frozen MiniLM: gradient-free search against the supervised probe",
        "validation",
        NER,
        (
            Row("supervised head", f"{FROZEN} --budget.passes 2 {SOME}", seeds=1),
            Row("snes", head("snes", 8, 1024, SOME, 24_000_000, sigma=0.5)),
        ),
    ),
}
