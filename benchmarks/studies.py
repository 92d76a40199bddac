"""What benchmarks/results.py runs: studies, and the rows of their tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of a table: a name, command-line options, the row whose best model it begins from, most seeds."""

    name: str
    options: str
    start: str | None = None
    seeds: int = 5


@dataclass(frozen=True)
class Study:
    """Rows trained under one budget, and the metrics that the table shows; `before`: also where each row began."""

    title: str
    split: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    before: str | None = None


# Of PPO each text is encoded to be played and to be learned from, and twice more where the end of a rollout cuts it:
# 2 passes are about as many forward passes as 5 of the twin.
PPO = "--config configs/ner_ppo.yaml --budget.passes 2"
NER = ("entity_f1", "entity_precision", "entity_recall", "token_accuracy", "token_macro_f1")
LM = ("accuracy", "cross_entropy", "perplexity")
CONLL = "--config configs/conll_reinforce.yaml"
STUDIES = {
    "ner_builtin": Study(
        "Builtin NER, `tiny`, equal passes over the texts where a row says nothing else",
        "test",
        NER,
        (
            Row("supervised", "--config configs/ner_supervised.yaml"),
            Row("reinforce", "--config configs/ner_reinforce.yaml"),
            Row("reinforce K=8", "--config configs/ner_reinforce.yaml --agent.samples 8"),
            Row("reinforce K=4", "--config configs/ner_reinforce.yaml --agent.samples 4"),
            Row(
                "reinforce K=4, without replacement",
                "--config configs/ner_reinforce.yaml --agent.samples 4 --agent.behaviour without_replacement",
            ),
            Row("reinforce, drawn from the policy", "--config configs/ner_reinforce.yaml --agent.behaviour policy"),
            Row("reinforce, textbook", "--config configs/ner_reinforce_textbook.yaml"),
            Row("ppo", PPO),
            Row("ppo, three times the passes", "--config configs/ner_ppo.yaml", seeds=1),
            Row("ppo, a critic (gae)", f"{PPO} --agent.advantage gae --agent.normalize_advantage true", seeds=1),
            Row("ppo, textbook (leave-one-out)", f"{PPO} --agent.advantage leave_one_out", seeds=1),
            Row(
                "supervised, a tenth of the passes",
                "--config configs/ner_supervised.yaml --budget.passes 0.5 --evaluation.every_passes 0.1",
                seeds=1,
            ),
            Row(
                "ppo after that tenth",
                "--config configs/ner_ppo.yaml --budget.passes 1.85",
                "supervised, a tenth of the passes",
                seeds=2,
            ),
            Row(
                "ppo after that tenth, playing the other nine",
                "--config configs/ner_ppo.yaml --budget.passes 4.5",
                "supervised, a tenth of the passes",
                seeds=1,
            ),
        ),
    ),
    "conll": Study(
        "CoNLL-2003, MiniLM with frozen embeddings, two passes over the training set",
        "validation",
        NER,
        (
            Row("supervised", "--config configs/conll_supervised.yaml"),
            Row("reinforce", CONLL),
            Row("reinforce, textbook", f"{CONLL} --config configs/conll_reinforce_textbook.yaml", seeds=2),
            Row("ppo", "--config configs/conll_ppo.yaml", seeds=1),
        ),
    ),
    "masked_lm": Study(
        "Masked LM, builtin prose, `tiny` as shipped as the start",
        "test",
        LM,
        (
            Row("supervised", "--config configs/masked_lm_supervised.yaml"),
            Row("reinforce", "--config configs/masked_lm_reinforce.yaml"),
        ),
    ),
    "wikitext": Study(
        "Masked LM, WikiText-2 (its validation file, a tenth held out), MiniLM; its head trained by the twin first",
        "validation",
        LM,
        (
            Row("supervised warm start", "--config configs/wikitext_warm_start.yaml", seeds=1),
            Row("supervised, continued", "--config configs/wikitext_supervised.yaml", "supervised warm start"),
            Row("reinforce", "--config configs/wikitext_reinforce.yaml", "supervised warm start"),
        ),
    ),
}
