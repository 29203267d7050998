"""What a device model should hear of its teacher: the parts of distillation's loss against one another.

    python benchmarks/distillation.py runs/demo/prepare runs/demo/train --out results/

PREPARED and TRAINED are what `pocketrec prepare` and `pocketrec train` left. Each row distils one device model a seed
with one thing changed, the same seeds and steps otherwise: a part of the loss left out or weighed anew, or the
temperature by which the teacher's scores of the history are divided. NDCG@10 is that of the next baskets over a table
on its int8 grid, the copy head's height set on the validation weeks: of those weeks, by which a build's defaults are
chosen, and of the test weeks, by which they are not. Each is the mean over seeds of every person's; `kept` is the share
of the first row's with its 95 % interval by a paired bootstrap of people.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import msgspec
import numpy as np
from numpy.typing import NDArray

from compression.compress import calibrate, default_recipe, evaluate_device_model, initial_table
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.distillation import DistillationRecipe, distil
from compression.repeatable import train_repeatably
from training.cases import TEST, VALIDATION, Cases, next_basket_cases
from training.context import context_fields, context_of
from training.evaluation import relative_difference
from training.examples import examples_of
from training.histories import Histories, histories_of
from training.prepared import Prepared, load_prepared
from training.segments import Segments, fit_segments
from training.soft_labels import SoftLabels, load_soft_labels

LENGTH, WIDTH = 256, 64
BASE = "as a build does"


VARIANTS = {
    BASE: DistillationRecipe(),
    "temperature 1": DistillationRecipe(temperature=1.0),
    "temperature 4": DistillationRecipe(temperature=4.0),
    "no soft labels of the history": DistillationRecipe(history_weight=0.0),
    "soft labels of the history at a third": DistillationRecipe(history_weight=0.3),
    "no soft labels of new items": DistillationRecipe(new_item_weight=0.0),
    "soft labels of new items doubled": DistillationRecipe(new_item_weight=8.0),
    "no hidden states": DistillationRecipe(query_weight=0.0),
    "hidden states doubled": DistillationRecipe(query_weight=1.0),
    "no baskets": DistillationRecipe(basket_weight=0.0),
    "baskets doubled": DistillationRecipe(basket_weight=2.0),
    "baskets alone": DistillationRecipe(query_weight=0.0, history_weight=0.0, new_item_weight=0.0),
}
FIGURES = {
    "validation": "validation weeks",
    "validation_new": "new items",
    "test": "test weeks",
    "test_new": "new items",
}


def distilled(
    prepared: Prepared, segments: Segments, labels: SoftLabels, recipe: DistillationRecipe, seed: int, what: str
) -> DeviceModel:
    table, divisor, middle = initial_table(labels, WIDTH)
    spec = DeviceModelSpec(items=len(table) - 1, context=context_fields(segments), history_length=LENGTH, width=WIDTH)
    model = DeviceModel.create(spec, table, seed, default_recipe(recipe))
    model.adapter["popularity"].assign([divisor])
    model.adapter["copy_offset"].assign([-middle])

    def report(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"{what}: {done} of {total} steps", flush=True)

    distil(model, examples_of(prepared, labels.baskets, LENGTH, segments), labels, recipe, seed, report)
    return model


def judged(model: DeviceModel, prepared: Prepared, segments: Segments) -> dict[str, NDArray[np.float64]]:
    """Every person's NDCG@10 by figure."""
    people = len(prepared.pseudonym)

    def task(split: int) -> tuple[Histories, Cases]:
        cases = next_basket_cases(prepared, split)
        context = context_of(prepared, cases.baskets, segments)
        return histories_of(prepared, cases.baskets, LENGTH, context), cases

    validation = task(VALIDATION)
    calibrate(model, *validation, people)
    chosen_by = evaluate_device_model(model, *validation, people, lambda *_: None)
    found = evaluate_device_model(model, *task(TEST), people, lambda *_: None)
    return {
        "validation": chosen_by.ndcg,
        "validation_new": chosen_by.new_ndcg,
        "test": found.ndcg,
        "test_new": found.new_ndcg,
    }


def measure(
    prepared: Prepared, labels: SoftLabels, names: Sequence[str], steps: int, seeds: Sequence[int]
) -> Iterator[dict]:
    """A row for each variant; the first is what the others are compared with."""
    first: dict[str, NDArray[np.float64]] = {}
    for name in names:
        recipe, by_seed = replace(VARIANTS[name], steps=steps), []
        for seed in seeds:
            segments = fit_segments(prepared, seed)
            model = distilled(prepared, segments, labels, recipe, seed, f"{name}, seed {seed}")
            by_seed.append(judged(model, prepared, segments))
        found = {figure: np.mean([each[figure] for each in by_seed], 0) for figure in FIGURES}
        first = first or found
        row: dict = {"variant": name}
        for figure, values in found.items():
            row[figure] = float(np.nanmean(values))
            row[f"{figure}_of_seeds"] = [float(np.nanmean(each[figure])) for each in by_seed]
            row[f"{figure}_kept"] = msgspec.to_builtins(relative_difference(values, first[figure], seeds[0]))
        yield row


def markdown(rows: list[dict]) -> str:
    heads = ["distilled", *(head for figure in FIGURES.values() for head in (figure, "kept"))]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for row in rows:
        cells = [row["variant"]]
        for figure in FIGURES:
            kept = row[f"{figure}_kept"]
            cells += [f"{row[figure]:.4f}", f"{1 + kept['value']:.1%} [{1 + kept['low']:.1%}, {1 + kept['high']:.1%}]"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="folder that `pocketrec prepare` made")
    parser.add_argument("trained", type=Path, help="folder that `pocketrec train` made of it")
    parser.add_argument("--out", type=Path, required=True, help="folder for distillation.json and .md")
    parser.add_argument("--steps", type=int, default=DistillationRecipe().steps)
    parser.add_argument("--seed", type=int, default=7, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), help="one beside the first, or several")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train_repeatably()
    prepared, labels = load_prepared(arguments.prepared), load_soft_labels(arguments.trained)
    names = [name for name in VARIANTS if name == BASE or name in (arguments.variant or VARIANTS)]
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    rows = []
    for row in measure(prepared, labels, names, arguments.steps, seeds):
        print(json.dumps(row), flush=True)
        rows.append(row)
    result = {"steps": arguments.steps, "seeds": list(seeds), "rows": rows}
    (arguments.out / "distillation.json").write_text(json.dumps(result, indent=2) + "\n")
    (arguments.out / "distillation.md").write_text(markdown(rows))
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()
