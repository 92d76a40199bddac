"""Say what a hotel's guests complain about: each review has any number of labels.

python -m examples.reviews

A supervised classifier first learns each decision separately. REINFORCE then trains it on the F1 of each review's
labels.
"""

import random

import gymnasium

import lm_gym  # registers the environments
from lm_gym.agents import REINFORCE, Supervised, evaluate
from lm_gym.agents.evaluation.playing import baselines

COMPLAINTS = {
    "noise": ["we heard the street all night", "the walls are thin", "the bar played music until three"],
    "dirt": ["the carpet had stains", "there was hair in the bath", "the towels were not clean"],
    "staff": ["nobody was at the desk", "the waiter was rude", "they forgot our booking"],
    "price": ["it costs too much", "breakfast is expensive", "they charged us for water"],
}
PRAISE = ["the view is lovely", "the beds are soft", "we liked the garden", "the station is near"]
DENIED = ["I cannot say that {}", "others wrote that {} , but not when we were there"]


def reviews(count: int, seed: int) -> list[dict[str, object]]:
    """Reviews with the labels of what they complain about."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        labels = rng.sample(list(COMPLAINTS), rng.choice([0, 1, 1, 2]))
        said = [rng.choice(COMPLAINTS[label]) for label in labels] + [rng.choice(PRAISE)]
        if rng.random() < 0.5:
            other = rng.choice([label for label in COMPLAINTS if label not in labels])
            said.append(rng.choice(DENIED).format(rng.choice(COMPLAINTS[other])))
        rng.shuffle(said)
        rows.append({"text": f"Room {rng.randint(100, 999)} : " + " . ".join(said) + " .", "labels": labels})
    return rows


if __name__ == "__main__":
    splits = {"train": reviews(600, 0), "test": reviews(300, 1)}
    data = lm_gym.load_dataset(splits, fields=lm_gym.TASKS["multi_label"].fields, max_overlap=1)
    make = {"id": "lm_gym/MultiLabelClassification-v0", "dataset": data, "unit": "sequence"}
    train = {**make, "num_envs": 16, "autoreset_mode": "SameStep"}
    test = gymnasium.make_vec(**make, num_envs=64, split="test", reward="label_f1")

    labels = Supervised("LMPolicy", gymnasium.make_vec(**train), seed=0, device="cpu")
    labels.learn(4 * labels.timesteps_per_pass)
    labels.policy.save_pretrained("reviews")

    by_f1 = REINFORCE(
        "LMPolicy",
        gymnasium.make_vec(**train, reward="label_f1"),
        3e-4,
        samples=8,
        policy_kwargs={"model": "reviews", "dropout": 0.0},
        seed=0,
        device="cpu",
    )
    by_f1.learn(6 * by_f1.timesteps_per_pass)

    played = {"labels": evaluate(labels.policy, test), "F1": evaluate(by_f1.policy, test)}
    rows = {f"trained on {name}": evaluation.metrics for name, evaluation in played.items()} | baselines(test)
    print(played["F1"].reports["label"], "\n")
    for name, metrics in rows.items():
        print(f"{name:18} micro F1 {metrics['micro_f1']:.3f}  all labels right {metrics['subset_accuracy']:.3f}")
    if not rows["trained on F1"]["micro_f1"] > rows["trained on labels"]["micro_f1"]:
        raise SystemExit("training on F1 gained nothing")
