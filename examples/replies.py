"""Answer customers with the replies that your team already has: pick the right one from a bank, or none.

python -m examples.replies

The bank is a file of replies, one per line. BM25 looks up six of them for each message, and the policy picks one. A
wrong reply costs as much as a right one is worth; handing the message to a colleague (abstaining) costs nothing.
"""

import random
from pathlib import Path

import gymnasium

import lm_gym  # registers the environments
from lm_gym.agents import REINFORCE, evaluate
from lm_gym.agents.evaluation.playing import baselines

BANK = Path(__file__).with_name("replies.jsonl")
ASKED = {
    "Your parcel is on its way and will arrive tomorrow.": [
        "where is my parcel",
        "my order is late",
        "nothing came yet",
    ],
    "I have changed the delivery address of your order.": ["I moved, please use my new address", "wrong street"],
    "Here is a return label for your order.": ["I want to send it back", "how do I return this", "it is not for me"],
    "The refund will be in your account within five days.": ["where is my money", "I still wait for my refund"],
    "I have cancelled your order, nothing will be charged.": ["please cancel it", "I do not want it any more"],
    "The invoice is attached to this message.": ["I need a bill for my taxes", "send me the invoice please"],
    "We are sorry for the damage and will send a new one.": ["it arrived broken", "there is a crack in it"],
    "Please reset your password with the link in your email.": ["I cannot log in", "I forgot my password"],
}
OPENINGS = ["Hello,", "Hi there,", "Good morning,", "Please help,", "Dear team,", "Once more:"]
CLOSINGS = ["Thanks.", "It is order {}.", "What now?", "Kind regards, customer {}."]


def messages(count: int, seed: int) -> list[dict[str, str]]:
    """Messages, each with the reply that was right."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        reply = rng.choice(list(ASKED))
        text = [rng.choice(OPENINGS), rng.choice(ASKED[reply]), ".", rng.choice(CLOSINGS).format(rng.randint(100, 999))]
        rows.append({"message": " ".join(text), "reply": reply})
    return rows


if __name__ == "__main__":
    splits = {"train": messages(200, 0), "test": messages(100, 1)}
    data = lm_gym.load_dataset(splits, fields=lm_gym.TASKS["response_selection"].fields, max_overlap=1)
    make = {"id": "lm_gym/ResponseSelection-v0", "dataset": data, "bank": str(BANK), "k": 6, "abstain": True}
    make |= {"unit": "sequence", "reward": "relevance", "reward_kwargs": {"wrong_cost": 1.0}}
    train = gymnasium.make_vec(**make, num_envs=16, autoreset_mode="SameStep")
    test = gymnasium.make_vec(**make, num_envs=50, split="test")

    model = REINFORCE("LMPolicy", train, samples=16, seed=0, device="cpu")
    model.learn(3 * model.timesteps_per_pass)

    rows = {"trained": evaluate(model.policy, test).metrics} | baselines(test)
    for name, metrics in rows.items():
        print(
            f"{name:8} {metrics['accuracy']:.3f} right, {metrics['abstention_rate']:.3f} handed over, "
            f"{metrics['mean_reward']:+.3f} earned per message"
        )
    if not rows["trained"]["mean_reward"] > max(0.0, rows["bm25"]["mean_reward"]):
        raise SystemExit("training earned nothing")
