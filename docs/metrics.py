"""The meaning of every logged number, and the numbers that each algorithm logs, found by running it."""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from lm_gym.agents.runs.curve import read_metrics
from lm_gym.agents.train import main

METRICS = {
    "train/loss": "the minimised loss, averaged over the updates since the last log",
    "train/policy_gradient_loss": "the policy-gradient part of the loss",
    "train/value_loss": "mean squared error of the critic",
    "train/entropy_loss": "minus the mean entropy of the policy at a position, in nats",
    "train/accuracy": "fraction of positions where the most probable choice was correct, before the update",
    "train/mean_position_reward": "mean reward of a sampled choice",
    "train/return_variance": "variance of the returns-to-go G over samples and positions",
    "train/dead_positions": "fraction of positions whose K samples all have the same reward",
    "train/gradient_variance": "sampling variance of the gradient estimate with respect to the logits, estimated from "
    "the K samples (K > 1) and averaged over positions; computed for logged updates only",
    "train/kl_to_reference": "mean KL(π ‖ policy at the start of training), with `kl_coef` above 0",
    "train/supervised_loss": "mean −log π of the gold choice, with `supervised_coef` above 0",
    "train/lag": "updates between the weights that drew the samples and the update that learns from them; this and the "
    "next three with samples of older weights, or drawn by Ray workers",
    "train/ratio_mean": "mean of the ratio ρ = π(a)/π_old(a) before truncation; 1 in expectation",
    "train/ratio_max": "largest ratio ρ of an update",
    "train/ratio_truncated": "fraction of samples whose ratio is above `max_ratio`",
    "train/grad_norm": "norm of the gradient before clipping",
    "train/learning_rate": "learning rate of the last update",
    "train/n_updates": "updates so far",
    "train/approx_kl": "estimate of KL(old policy ‖ new)",
    "train/clip_fraction": "fraction of steps whose ratio was clipped",
    "train/clip_range": "ε, the clipping range of the ratio",
    "train/clip_range_vf": "clipping range of the critic's change, with `clip_range_vf`",
    "train/explained_variance": "1 − Var(return − value)/Var(return); meaningless if the critic is not trained",
    "search/fitness_best": "fitness of the generation's best member",
    "search/fitness_mean": "mean fitness of the generation's members that did not fail",
    "search/fitness_spread": "standard deviation of their fitness",
    "search/failed": "number of members whose probabilities were not finite, if any",
    "search/perplexity": "exp(−mean fitness), where fitness is the mean log-likelihood",
    "search/generations": "generations so far",
    "search/evaluations": "members evaluated so far",
    "search/step_size": "σ",
    "search/distance": "distance from the mean of the search to its start",
    "search/axis_ratio": "ratio of the longest to the shortest axis of the distribution",
    "search/diversity": "mean standard deviation of a number over the members; for bits and tokens, mean fraction that "
    "differs from the first member",
    "search/inertia": "inertia w",
    "search/acceptance_rate": "fraction of proposals or trials that replaced their parent",
    "search/temperature": "temperature T, mean over the chains",
    "search/F": "mean of the differential weight, μ_F",
    "search/CR": "mean of the crossover rate, μ_CR",
    "search/slope": "mean |g| of the generation's probes",
    "search/deviation": "standard deviation s by which the step is divided",
    "search/gradient_norm": "norm of the gradient estimate",
    "rollout/ep_rew_mean": "mean reward per text, over the last 100 texts",
    "rollout/ep_len_mean": "mean length of an episode, over the last 100 texts: positions in gradient-free searches, "
    "else steps (1 if a step decides a whole text)",
    "budget/forward_passes": "texts sent through the model so far",
    "budget/backward_passes": "texts with a backward pass so far",
    "budget/tokens": "sub-tokens sent through the model so far",
    "time/total_timesteps": "positions decided so far, including all samples or members",
    "time/time_elapsed": "seconds since training started or resumed",
    "time/fps": "timesteps per second in that time",
    "eval/entity_f1": "F1 of the split's entities, as conlleval computes it",
    "eval/entity_precision": "fraction of the predicted entities that are correct",
    "eval/entity_recall": "fraction of the gold entities that were found",
    "eval/token_accuracy": "fraction of words with the correct tag, including O",
    "eval/token_macro_f1": "mean F1 over the tags, including O",
    "eval/accuracy": "fraction of masked tokens, or of texts, decided correctly",
    "eval/macro_f1": "mean F1 over the labels",
    "eval/matthews": "Matthews correlation of gold and predicted labels, −1 to 1",
    "eval/expected_cost": "mean cost of a decision, from the environment's `costs`",
    "eval/calibration_error": "mean difference between the probability of a decision and the accuracy, in 15 bins",
    "eval/cross_entropy": "mean −log π(gold choice), in nats",
    "eval/perplexity": "exponential of the cross-entropy",
    "eval/mean_reward": "mean reward per text",
    "budget/seconds": "seconds of training so far, without evaluations and checkpoints",
    "budget/peak_memory_bytes": "peak memory of the run so far",
}
OF_EVALUATIONS = {"budget/seconds", "budget/peak_memory_bytes"}  # logged together with eval/*
GENERATIONS = {
    "train/n_updates": "generations so far",
    "rollout/ep_rew_mean": "mean reward per text, over the last 100 texts, averaged over the population",
    "budget/forward_passes": "texts sent through the model so far; with P members a text counts P times",
}
PARTICULAR = {  # meanings that differ by algorithm
    "ppo": {"train/loss": "loss of the last minibatch", "train/n_updates": "epochs so far"},
    "snes": {"search/step_size": "mean standard deviation of the numbers"},
    "sep_cma_es": {"search/step_size": "σ times the mean √C"},
    "cr_fm_nes": {"search/step_size": "σ times the mean D"},
    "pgpe": {"search/step_size": "mean standard deviation of the numbers"},
    "pso": {"search/step_size": "mean speed |v|"},
    "sa": {"search/step_size": "mean step s of the chains"},
}
TAGGED = {
    "train.conll": 4 * "Ann B-PER\nsaw O\nOslo B-LOC\n\nIt O\nrained O\n\n",
    "dev.conll": "Bo B-PER\nsaw O\nLima B-LOC\n",
}
LABELLED = {
    "train.csv": "text,label\n" + 4 * "it was fine,good\nit rained,bad\n",
    "dev.csv": "text,label\nit was cold,bad\n",
}
TERMS = "--agent.baseline=value", "--agent.advantage=plain", "--agent.kl_coef=0.1", "--agent.supervised_coef=0.1"
DRAWN = "--algo=random_search", "--env.reward=log_likelihood"
RUNS: dict[str, tuple[Sequence[str], ...]] = {  # options that make an algorithm log all its numbers
    "reinforce": (("--algo=reinforce", *TERMS, "--agent.lag=1"),),
    "ppo": (("--algo=ppo", "--agent.n_steps=8", "--agent.clip_range_vf=0.2"),),
    "sep_cma_es": (("--algo=snes", "--agent.optimizer=sep_cma_es"),),
    "random_search": (DRAWN,),
    "black_box": (DRAWN, (*DRAWN, "--agent.optimizer_kwargs={sigma: 1.0e+38}")),
}


def meaning(tag: str, name: str) -> str:
    """Return the meaning of a tag in the logs of the algorithm of that name."""
    general = METRICS if name in ("reinforce", "supervised", "ppo") else METRICS | GENERATIONS
    return (general | PARTICULAR.get(name, {}))[tag]


def logged(name: str) -> set[str]:
    """Return the tags that tiny runs of an algorithm log on named entities, including `eval/*` and `reward/*`."""
    return set().union(*(_tags(options) for options in RUNS.get(name, ((f"--algo={name}",),))))


def logged_by_evaluation() -> set[str]:
    """Return the tags that evaluations log on all tasks."""
    found = _tags(["--algo=supervised"])
    found |= _tags(["--algo=supervised", "--env.id=lm_gym/MaskedLM-v0", "--env.mask_probability=0.5"])
    found |= _tags(["--algo=supervised", "--env.id=lm_gym/TextClassification-v0"], LABELLED)
    return {tag for tag in found if tag.startswith("eval/") or tag in OF_EVALUATIONS}


def _tags(options: Sequence[str], files: Mapping[str, str] = TAGGED) -> set[str]:
    """Return the tags in metrics.jsonl of a run of one pass over eight short texts."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        small = {"env.num_envs": 4, "evaluation.num_envs": 4, "log_interval": 1, "device": "cpu", "budget.passes": 1}
        given = {"env.dataset": folder, "run_dir": folder / "run", **small}
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                main([*options, *(f"--{key}={value}" for key, value in given.items())])
            except SystemExit as error:
                raise RuntimeError(said.getvalue()) from error
        return {tag for row in read_metrics(folder / "run" / "metrics.jsonl") for tag in row} - {"timesteps"}
