"""Send customers' messages to the team that can help, where one mistake costs five times what another costs.

python -m examples.tickets

A charge that a customer does not recognise is usually a billing question, but in three of ten cases somebody broke into
the account. A classifier trained on labels learns to say "billing", which is right more often. Trained on costs, it
learns to be careful.
"""

import random

import gymnasium

import lm_gym  # registers the environments
from lm_gym.agents import REINFORCE, Supervised, evaluate
from lm_gym.agents.evaluation.playing import baselines

SAID = {
    "billing": ["the invoice is wrong", "I was charged twice", "the refund never came"],
    "delivery": ["the parcel is late", "the box arrived open", "the courier left it outside"],
    "login": ["I cannot sign in", "the code never arrives", "my password is refused"],
    "security": ["someone reads my mail", "a stranger changed my name", "I gave my password away"],
}
UNKNOWN = ["there is a charge that I do not know", "I see an order that I did not make"]  # billing, or security
OPENINGS = ["Hello ,", "Hi there .", "Good morning ,", "Please help :", "Again :", "Dear team ,"]
CLOSINGS = ["Thanks .", "Please look at this today .", "I am waiting .", "What now ?", "It is order {} ."]
COSTS = {"security": {"billing": 5.0, "delivery": 5.0, "login": 5.0}}  # all other mistakes cost 1


def tickets(count: int, seed: int) -> list[dict[str, str]]:
    """Messages with the team that they are for."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        team = rng.choice(list(SAID))
        said = rng.choice(SAID[team])
        if rng.random() < 0.3:
            team, said = "security" if rng.random() < 0.3 else "billing", rng.choice(UNKNOWN)
        text = [rng.choice(OPENINGS), said, rng.choice(CLOSINGS).format(rng.randint(1000, 9999))]
        rows.append({"text": " ".join(text), "label": team})
    return rows


if __name__ == "__main__":
    splits = {"train": tickets(400, 0), "test": tickets(300, 1)}
    data = lm_gym.load_dataset(splits, fields=lm_gym.TASKS["text_classification"].fields, max_overlap=1)
    make = {"id": "lm_gym/TextClassification-v0", "dataset": data, "unit": "sequence", "costs": COSTS}
    train = {**make, "num_envs": 16, "autoreset_mode": "SameStep"}
    test = gymnasium.make_vec(**make, num_envs=64, split="test")

    labels = Supervised("LMPolicy", gymnasium.make_vec(**train), seed=0, device="cpu")
    labels.learn(2 * labels.timesteps_per_pass)
    labels.policy.save_pretrained("tickets")  # transformers.pipeline("text-classification", "tickets") loads it

    careful = {"model": "tickets", "dropout": 0.0}
    costs = REINFORCE(
        "LMPolicy",
        gymnasium.make_vec(**train, reward="cost"),
        3e-4,
        samples=16,
        policy_kwargs=careful,
        seed=0,
        device="cpu",
    )
    costs.learn(costs.timesteps_per_pass)

    played = {"labels": evaluate(labels.policy, test), "costs": evaluate(costs.policy, test)}
    rows = {f"trained on {name}": evaluation.metrics for name, evaluation in played.items()} | baselines(test)
    print(played["costs"].reports["label"], "\n")
    for name, metrics in rows.items():
        print(f"{name:18} accuracy {metrics['accuracy']:.3f}  mean cost {metrics['expected_cost']:.3f}")
    if not rows["trained on costs"]["expected_cost"] < 0.8 * rows["trained on labels"]["expected_cost"]:
        raise SystemExit("training on costs saved nothing")
