"""What privacy costs: NDCG@10 on ML-1M of the private teacher at several epsilons and without noise.

    python benchmarks/private_training.py ml-1m.parquet --out results/

Leave-one-out, ranking of all items the person has not seen, history of the test item with the validation item in it,
training on everything before both. Noise and coins are seeded here so that the table can be made again; a teacher that
is to be released draws them from the operating system. What epsilon covers is each of the people, with everything they
did (add/remove one person); the figures themselves are exact means over the same people, outside the guarantee.

`--memory 60000` instead measures the peak memory of a training with so many items, on synthetic people.
"""

import argparse
import json
import math
import resource
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from contracts.noise import seeded_noise
from training.evaluation import estimate
from training.privacy_crosscheck import prv_epsilon
from training.private.examples import next_item_examples, recent_histories
from training.private.fit import PrivateRecipe, Randomness, fit_private_teacher
from training.private.plan import WITHOUT_PRIVACY, PrivacyPlan, plan_privacy
from training.private.teacher import PrivateShape, PrivateTeacher
from training.sequence.leave_one_out import hits_of_ranks, ndcg_of_ranks, ranks
from training.sequence.sequences import TEST_HELD_OUT, VALIDATION_HELD_OUT, Sequences, sequences_of

LENGTH = 200
EXAMPLES = 32  # of one person, from which each step draws
DELTA = 1e-5
EPSILONS = (2.0, 8.0, math.inf)
SEED_OF_INTERVALS = 7


def train(sequences: Sequences, plan: PrivacyPlan, recipe: PrivateRecipe, seed: int) -> PrivateTeacher:
    examples = next_item_examples(sequences, LENGTH, EXAMPLES)
    coins = np.random.default_rng([seed, 1])
    randomness = Randomness(noise=seeded_noise(seed), coins=coins.random)
    return fit_private_teacher(
        sequences, examples, plan, recipe, lambda *_: None, seed, lambda *_: None, randomness=randomness
    )


def rank_held_out(teacher: PrivateTeacher, everything: Sequences, held_out: int) -> NDArray[np.int64]:
    return ranks(lambda recent: teacher.scores(recent_histories(recent)), everything, held_out, LENGTH)


def interval(people: NDArray[np.float64]) -> dict[str, float]:
    found = estimate(people, SEED_OF_INTERVALS)
    return {"value": found.value, "low": found.low, "high": found.high}


def measure(everything: Sequences, epsilon: float, seeds: int, recipe: PrivateRecipe) -> dict:
    """One row of the table: the mean over seeds of each person's gain, with its interval over people."""
    steps, sequences = recipe.steps, everything.without_last(VALIDATION_HELD_OUT)
    private = math.isfinite(epsilon)
    plan = (
        plan_privacy(epsilon, DELTA, len(everything), steps.sampling_rate, steps.steps) if private else WITHOUT_PRIVACY
    )
    ndcg, hits, validation, seconds = [], [], [], []
    for seed in range(seeds):
        started = time.monotonic()
        teacher = train(sequences, plan, recipe, seed)
        seconds.append(time.monotonic() - started)
        found = rank_held_out(teacher, everything, TEST_HELD_OUT)
        ndcg.append(ndcg_of_ranks(found))
        hits.append(hits_of_ranks(found))
        validation.append(float(ndcg_of_ranks(rank_held_out(teacher, everything, VALIDATION_HELD_OUT)).mean()))
        print(f"epsilon {epsilon:g}, seed {seed}: NDCG@10 {ndcg[-1].mean():.4f}", flush=True)
    return {
        "epsilon_asked": epsilon if private else None,
        "epsilon_pld": plan.epsilon(DELTA) if private else None,
        "epsilon_prv": prv_epsilon(plan.charges.values(), DELTA) if private else None,
        "delta": DELTA if private else None,
        "noise_multipliers": {name: charge.noise_multiplier for name, charge in plan.charges.items()},
        "ndcg_at_10": interval(np.mean(ndcg, axis=0)),
        "ndcg_at_10_of_seeds": [float(each.mean()) for each in ndcg],
        "hr_at_10": interval(np.mean(hits, axis=0)),
        "validation_ndcg_at_10_of_seeds": validation,
        "seconds_of_seeds": [round(each, 1) for each in seconds],
    }


def popularity(everything: Sequences) -> dict:
    counts = np.bincount(everything.without_last(VALIDATION_HELD_OUT).item, minlength=everything.items + 1)
    scores = torch.from_numpy(counts.astype(np.float32))
    found = ranks(lambda recent: scores.repeat(len(recent), 1), everything, TEST_HELD_OUT, LENGTH)
    return {"ndcg_at_10": interval(ndcg_of_ranks(found)), "hr_at_10": interval(hits_of_ranks(found))}


def markdown(result: dict) -> str:
    def cell(found: dict[str, float]) -> str:
        return f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"

    lines = [
        "| model | epsilon (PLD / PRV) at delta | NDCG@10 (95 % over people) | of each seed | HR@10 |",
        "| --- | --- | --- | --- | --- |",
        f"| popularity, exact | none | {cell(result['popularity']['ndcg_at_10'])} | "
        f"| {cell(result['popularity']['hr_at_10'])} |",
    ]
    for row in result["rows"]:
        spent = "none: no noise"
        if row["epsilon_pld"] is not None:
            spent = f"{row['epsilon_pld']:.2f} / {row['epsilon_prv']:.2f} at {row['delta']:g}"
        seeds = ", ".join(f"{each:.4f}" for each in row["ndcg_at_10_of_seeds"])
        lines.append(f"| private teacher | {spent} | {cell(row['ndcg_at_10'])} | {seeds} | {cell(row['hr_at_10'])} |")
    return "\n".join([*lines, "", result["covers"], ""])


def measure_memory(items: int) -> dict:
    """Peak resident memory of two steps, with a fifth of 2,000 synthetic people in each."""
    rng, sizes = np.random.default_rng(0), np.full(2_000, 160)
    item = np.minimum(rng.zipf(1.2, sizes.sum()), items).astype(np.int32)
    sequences = Sequences(item, np.concatenate([[0], np.cumsum(sizes)]), items)
    recipe = PrivateRecipe()
    steps = type(recipe.steps)(sampling_rate=0.2, steps=2)
    started = time.monotonic()
    plan = PrivacyPlan.of_noise(1.0, steps.sampling_rate, steps.steps)
    train(sequences, plan, PrivateRecipe(recipe.shape, steps), 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return {"items": items, "peak_memory_bytes": peak, "seconds": round(time.monotonic() - started, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="ML-1M with user_id, item_id and position")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(), help="folder of private_training.json and .md")
    parser.add_argument("--memory", type=int, metavar="ITEMS", help="measure memory with so many items instead")
    given = parser.parse_args()
    if given.memory:
        print(json.dumps(measure_memory(given.memory)))
        return
    if given.data is None:
        parser.error("name the log, or use --memory")
    log = pl.read_parquet(given.data)
    everything = sequences_of(log["user_id"].to_numpy(), log["item_id"].to_numpy(), log["position"].to_numpy())
    recipe = PrivateRecipe(PrivateShape(repeats=False))
    result = {
        "protocol": "leave-one-out, all items ranked, seen ones removed",
        "people": len(everything),
        "items": everything.items,
        "covers": (
            f"Epsilon covers each of the {len(everything):,} people with everything they did (add/remove one person). "
            "The figures are exact means over the same people and outside the guarantee."
        ),
        "popularity": popularity(everything),
        "rows": [measure(everything, epsilon, given.seeds, recipe) for epsilon in EPSILONS],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "private_training.json").write_text(json.dumps(result, indent=2) + "\n")
    (given.out / "private_training.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
