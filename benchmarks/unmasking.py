"""Writing by unmasking: the effect of decoding orders and likelihoods, on Sudoku, sums and prose.

    python -m benchmarks.unmasking --out runs/unmasking --page docs/results/unmasking_orders.md

On puzzles, a small masked-diffusion model is trained from scratch by the supervised twin and decodes the test puzzles
in every order; then REINFORCE, PPO and ES learn when each position is filled, from the same model. On prose, `tiny`
fills half of a text. Last, the estimates of a text's likelihood are compared with the exact one.

Every row of every seed is kept in `--out` when it is finished, so a stopped command continues with the next row.
`--page` writes the page of all finished rows, which is also printed.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from benchmarks.likelihoods import KINDS, measure
from benchmarks.unmasking_page import page
from lm_gym.agents import REINFORCE, LMPolicy, Supervised, evaluate
from lm_gym.agents.algorithms.registry import find_algorithm
from lm_gym.agents.evaluation.playing import decided, read
from lm_gym.agents.files import write_text
from lm_gym.envs import TextVectorEnv
from lm_gym.tasks import Batch, Prediction

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PUZZLES = {  # characters; hidden width; timesteps of the twin; maximum steps; positions per step
    "sudoku": ("1234", 48, 1_100_000, 16, (1, 2, 4, 16)),
    "arithmetic": ("0123456789+=", 64, 800_000, 4, (1, 2, 4)),
}
FIXED = ("random", "left_to_right")
SURE = ("confidence", "margin", "entropy")
THRESHOLDS = (0.7, 0.9, 0.97)
COSTS = (0.0, 0.02, 0.05)
START = 0.3  # share of the twin's budget before the likelihoods are compared
ORDER = {"policy_kwargs": {"freeze": ["*"], "temperature": 0.25}}  # the tokens stay those of the twin
ROWS = {"reinforce": {"num_envs": 64, "group_size": 8}, "ppo": {"num_envs": 64}, "es": {"num_envs": 16}}
Metrics = dict[str, float]


def build_tokenizer(characters: str) -> Tokenizer:
    """A tokenizer of single characters."""
    words = [*WORDS, *characters]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(WORDS)
    return tokenizer


class Study:
    """The rows of one kind of puzzle.

    Args:
        puzzle: a key of `PUZZLES`.
        out: folder of models and results.
        scale: factor of all training budgets.
    """

    def __init__(self, puzzle: str, out: Path, scale: float) -> None:
        self.puzzle, self.out, self.scale = puzzle, out, scale
        self.characters, self.hidden, self.timesteps, self.max_steps, self.per_step = PUZZLES[puzzle]

    def env(self, num_envs: int, **options: Any) -> TextVectorEnv:
        """An environment of whole steps."""
        if options.get("order") in SURE:
            options["actions"] = "distribution"
        return gymnasium.make_vec(  # type: ignore[return-value]
            "lm_gym/Unmasking-v0",
            num_envs=num_envs,
            dataset=f"builtin/{self.puzzle}",
            tokenizer=build_tokenizer(self.characters),
            rule=self.puzzle,
            autoreset_mode="SameStep",
            **{"unit": "sequence", **options},
        )

    def twin(self, seed: int, share: float = 1.0) -> str:
        """Train a masked-diffusion model by the twin for a share of its budget; return its folder."""
        folder = self.out / f"{self.puzzle}-{share:g}-{seed}"
        if not (folder / "config.json").exists():
            dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            sizes = {"hidden_size": self.hidden, "intermediate_size": 2 * self.hidden, "num_attention_heads": 4}
            more = {"vocab_size": len(WORDS) + len(self.characters), "max_position_embeddings": 32}
            agent = Supervised(
                "LMPolicy",
                self.env(64, per_step=None, mask_probability="uniform", clues=False),
                3e-3,
                schedule="linear",
                warmup=0.05,
                policy_kwargs={"model": {"model_type": "bert", "num_hidden_layers": 2, **dropout, **sizes, **more}},
                seed=seed,
            )
            agent.learn(int(self.timesteps * self.scale * share), log_interval=None)
            agent.policy.save_pretrained(folder)
        return str(folder)

    def policy(self, folder: str, env: TextVectorEnv) -> LMPolicy:
        """The model of a folder for an environment."""
        return LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0, model=folder)

    def decoded(self, seed: int, order: str, **options: Any) -> Metrics:
        """Decode the test puzzles in an order."""
        env = self.env(128, split="test", order=order, **options)
        return evaluate(self.policy(self.twin(seed), env), env).metrics

    def oracle(self, seed: int) -> Metrics:
        """Decode the test puzzles in the best order: at each step, all cells whose most probable token is right."""
        env = self.env(128, split="test", order="learned", max_steps=self.max_steps)
        policy = self.policy(self.twin(seed), env)

        def predict(batch: Batch) -> Prediction:
            packed = read(policy, batch.observation)
            said = decided(packed, batch, env.task)
            tokens = packed.unpack(packed.of_tokens().argmax(-1)).numpy()
            right = (tokens == batch.targets) & (batch.observation["due"] > 0)
            filled = right | ~right.any(1, keepdims=True)  # if no cell is right, all are filled
            return said._replace(choices=np.where(filled, tokens, env.task.shape.choices))

        return evaluate(predict, env).metrics

    def learned(self, seed: int, algorithm: str, cost: float, timesteps: int, **agent: Any) -> Metrics:
        """Learn when positions are filled, and decode the test puzzles."""
        kind, rows = find_algorithm(algorithm), ROWS[algorithm]
        env = self.env(**rows, order="learned", max_steps=self.max_steps, reward="rule", step_cost=cost)
        arguments = {**agent.pop("policy_kwargs", {}), "model": self.twin(seed)}
        made: Any = kind("LMPolicy", env, policy_kwargs=arguments, seed=seed, **agent)
        made.learn(int(timesteps * self.scale), log_interval=None)
        weights = "" if "freeze" in arguments else "-all"
        made.policy.save_pretrained(self.out / f"{self.puzzle}-{algorithm}{weights}-{cost:g}-{seed}")
        return evaluate(made.policy, self.env(128, split="test", order="learned", max_steps=self.max_steps)).metrics

    def rows(self) -> dict[str, Callable[[int], Metrics]]:
        """All rows by name, each a function of the seed."""
        found: dict[str, Callable[[int], Metrics]] = {}
        for order in (*FIXED, *SURE):
            for count in self.per_step:
                found[f"{order} | {count}"] = lambda seed, o=order, k=count: self.decoded(seed, o, per_step=k)
        for bound in THRESHOLDS:
            found[f"confidence | {bound:g} sure"] = lambda seed, b=bound: self.decoded(seed, "confidence", threshold=b)
        found["oracle | right cells"] = self.oracle
        for cost in COSTS:
            found[f"REINFORCE | cost {cost:g}"] = lambda seed, c=cost: self.learned(
                seed, "reinforce", c, 60_000, learning_rate=2e-3, **ORDER
            )
        found["PPO | cost 0.02"] = lambda seed: self.learned(
            seed, "ppo", 0.02, 25_000, learning_rate=2e-3, n_epochs=4, **ORDER
        )
        found["ES | cost 0.02"] = lambda seed: self.learned(
            seed, "es", 0.02, 150_000, optimizer_kwargs={"popsize": 16}, **ORDER
        )
        found["REINFORCE, all weights | cost 0.02"] = lambda seed: self.learned(
            seed, "reinforce", 0.02, 120_000, learning_rate=3e-4, policy_kwargs={"temperature": 0.25}
        )
        return found


def prose_rows() -> dict[str, Callable[[int], Metrics]]:
    """`tiny` fills half of a text of the builtin prose, in every order; the seed plays no role."""

    def decoded(order: str, count: int) -> Metrics:
        more = {"actions": "distribution"} if order in SURE else {}
        env: Any = gymnasium.make_vec(
            "lm_gym/Unmasking-v0",
            num_envs=32,
            dataset="builtin/masked_lm",
            split="validation",
            max_length=48,
            mask_probability=0.5,
            unit="sequence",
            order=order,
            per_step=count,
            **more,
        )
        policy = LMPolicy(env.single_observation_space, env.single_action_space, lambda _: 0.0)
        return evaluate(policy, env, texts=128).metrics

    return {
        f"{order} | {count}": lambda _, o=order, k=count: decoded(o, k)
        for order in (*FIXED, "confidence", "entropy")
        for count in (1, 4, 16)
    }


def likelihood_rows(study: Study) -> dict[str, Callable[[int], Metrics]]:
    """What REINFORCE learns from right cells with each likelihood, from a twin trained for a part of its budget."""

    def learned(kind: str, seed: int) -> Metrics:
        options: dict[str, Any] = {"order": "random", "per_step": 2}
        env = study.env(64, group_size=8, reward="accuracy", **options)  # valid grids are too rare to learn from
        model = {"model": study.twin(seed, START)}
        agent = REINFORCE("LMPolicy", env, 1e-4, likelihood=kind, policy_kwargs=model, seed=seed)  # type: ignore[arg-type]
        agent.learn(int(200_000 * study.scale), log_interval=None)
        return evaluate(agent.policy, study.env(128, split="test", **options)).metrics

    def start(seed: int) -> Metrics:
        env = study.env(128, split="test", order="random", per_step=2)
        return evaluate(study.policy(study.twin(seed, START), env), env).metrics

    return {"before": start, **{kind: lambda seed, k=kind: learned(k, seed) for kind in KINDS}}


def gradients(study: Study, seed: int, texts: int = 3) -> dict[str, Metrics]:
    """Bias and deviation of each estimate, the mean over test grids with four masked cells."""
    env = study.env(1, split="test", reward="rule", mask_actions=True, clues=False, mask_probability=0.25)
    policy = study.policy(study.twin(seed), env)
    chosen = np.linspace(0, env.num_texts - 1, texts).astype(int).tolist()
    found = [measure(policy, env, text, seed) for text in chosen]
    return {
        kind: {name: float(np.mean([one[kind][name] for one in found])) for name in found[0][kind]} for kind in KINDS
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", default=["sudoku", "gradients", "prose", "likelihoods", "arithmetic"])
    parser.add_argument("--out", type=Path, default=Path("runs/unmasking"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all training budgets, for trials")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "results.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    results: dict[tuple[str, str, int], Metrics] = {}
    for line in lines:
        one = json.loads(line)
        results[one["part"], one["row"], one["seed"]] = one["metrics"]

    def keep(part: str, row: str, seed: int, metrics: Metrics) -> None:
        results[part, row, seed] = metrics
        line = json.dumps({"part": part, "row": row, "seed": seed, "metrics": metrics})
        with kept.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)

    sudoku = Study("sudoku", arguments.out, arguments.scale)
    for part in arguments.parts:
        for seed in arguments.seeds:
            if part == "gradients":
                if (part, KINDS[0], seed) not in results:
                    for kind, metrics in gradients(sudoku, seed).items():
                        keep(part, kind, seed, metrics)
                continue
            if part == "prose" and seed != arguments.seeds[0]:
                continue
            rows = {"likelihoods": lambda: likelihood_rows(sudoku), "prose": prose_rows}.get(
                part, lambda name=part: Study(name, arguments.out, arguments.scale).rows()
            )()
            for row, compute in rows.items():
                if (part, row, seed) not in results:
                    keep(part, row, seed, compute(seed))
    by_row: dict[str, dict[str, list[Metrics]]] = defaultdict(lambda: defaultdict(list))
    for (part, row, _), metrics in results.items():
        by_row[part][row].append(metrics)
    text = page(by_row, sorted({seed for _, _, seed in results}))
    print(text)
    if arguments.page is not None:
        write_text(arguments.page, text)


if __name__ == "__main__":
    main()
