"""Choose what to show a reader next: rank articles by what the reader read before, and learn from clicks.

python -m examples.recommendation

Readers have one or two interests, and see three of six articles. The log has their clicks, but no labels. REINFORCE
learns to rank from the discounted clicks of its rankings (NDCG); readers and headlines of the test are new.
"""

import random

import gymnasium

import lm_gym  # registers the environments
from lm_gym.agents import REINFORCE, evaluate
from lm_gym.agents.evaluation.playing import baselines

INTERESTS = {
    "football": ["goal", "striker", "league", "coach", "match", "penalty"],
    "money": ["bank", "interest rates", "shares", "tax", "budget", "inflation"],
    "weather": ["storm", "snow", "heat", "rain", "flood", "wind"],
    "health": ["doctor", "hospital", "vaccine", "nurse", "patient", "medicine"],
}
HEADLINES = [
    "New {} talks",
    "The {} question",
    "Why {} matters",
    "More {} this week",
    "{}: what we know",
    "After the {}",
]


def article(rng: random.Random, interest: str) -> str:
    """A headline."""
    return rng.choice(HEADLINES).format(rng.choice(INTERESTS[interest]))


def visits(count: int, seed: int) -> list[dict[str, object]]:
    """Readers with what they read, the articles that they saw, and their clicks."""
    rng, rows = random.Random(seed), []
    while len(rows) < count:
        mine = rng.sample([*INTERESTS], rng.choice([1, 2]))
        history = [article(rng, rng.choice(mine)) for _ in range(4)]
        offered = {article(rng, interest): interest for interest in rng.choices([*INTERESTS], k=20)}
        slate = [text for text in offered if text not in history][:6]
        clicks = [int(rng.random() < (0.8 if offered[text] in mine else 0.05)) for text in slate]
        if any(clicks):
            rows.append({"history": history[:-1], "liked": history[-1], "candidates": slate, "clicks": clicks})
    return rows


if __name__ == "__main__":
    splits = {"train": visits(300, 0), "test": visits(150, 1)}
    data = lm_gym.load_dataset(splits, fields=lm_gym.TASKS["recommendation"].fields, max_overlap=1)
    make = {"id": "lm_gym/Recommendation-v0", "dataset": data, "k": 3}
    train = gymnasium.make_vec(**make, num_envs=16 * 8, group_size=8, autoreset_mode="SameStep")
    test = gymnasium.make_vec(**make, num_envs=50, unit="sequence", split="test")

    model = REINFORCE("LMPolicy", train, seed=0, device="cpu")
    model.learn(6 * model.timesteps_per_pass)

    rows = {"trained": evaluate(model.policy, test).metrics} | baselines(test)
    for name, metrics in rows.items():
        print(f"{name:10} {metrics['ndcg']:.3f} NDCG@3, {metrics['hit_rate']:.3f} hit rate@3")
    if not rows["trained"]["ndcg"] > max(rows["bm25"]["ndcg"], rows["popularity"]["ndcg"]):
        raise SystemExit("training did not help")
