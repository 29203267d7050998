"""What a device model should hear of its teacher: the parts of distillation's loss against one another.

    python benchmarks/distillation.py runs/demo/prepare runs/demo/train --out results/

PREPARED and TRAINED are what `pocketrec prepare` and `pocketrec train` left. Each row distils one device model with one
thing changed, the same seed and steps otherwise: a part of the loss left out or doubled, or a temperature, by which the
teacher's scores of the history are divided and to whose inverse power its shares of new items are raised. NDCG@10 is
that of the next baskets in the test weeks over a table on its int8 grid, the copy head's height set on the validation
weeks; `kept` is the share of the first row's with its 95 % paired bootstrap interval.
"""

import argparse
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import msgspec
import numpy as np

from compression.compress import calibrate, default_recipe, evaluate_device_model, initial_table
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.distillation import DistillationRecipe, distil
from compression.repeatable import train_repeatably
from training.cases import TEST, VALIDATION, Cases, next_basket_cases
from training.context import context_fields, context_of
from training.evaluation import PersonMetrics, relative_difference
from training.examples import examples_of
from training.histories import Histories, histories_of
from training.prepared import Prepared, load_prepared
from training.segments import Segments, fit_segments
from training.soft_labels import SoftLabels, load_soft_labels

LENGTH, WIDTH = 256, 64


@dataclass(frozen=True)
class Variant:
    """What is changed of how a build distils."""

    recipe: DistillationRecipe = field(default_factory=DistillationRecipe)
    temperature: float = 1.0


VARIANTS = {
    "as a build does": Variant(),
    "no hidden states": Variant(DistillationRecipe(query_weight=0.0)),
    "hidden states doubled": Variant(DistillationRecipe(query_weight=1.0)),
    "no soft labels of the history": Variant(DistillationRecipe(history_weight=0.0)),
    "no soft labels of new items": Variant(DistillationRecipe(new_item_weight=0.0)),
    "soft labels of new items doubled": Variant(DistillationRecipe(new_item_weight=8.0)),
    "no baskets": Variant(DistillationRecipe(basket_weight=0.0)),
    "baskets alone": Variant(DistillationRecipe(query_weight=0.0, history_weight=0.0, new_item_weight=0.0)),
    "temperature 0.5": Variant(temperature=0.5),
    "temperature 2": Variant(temperature=2.0),
}


def tempered(labels: SoftLabels, temperature: float) -> SoftLabels:
    """The labels of a teacher whose scores are divided by a temperature."""
    if temperature == 1.0:
        return labels
    share = np.where(labels.new_share > 0, labels.new_share, 0.0) ** (1.0 / temperature)
    before, after = labels.new_share.sum(1, keepdims=True), share.sum(1, keepdims=True)
    kept = (share * before / np.maximum(after, 1e-12)).astype(np.float32)
    return replace(labels, history_scores=labels.history_scores / temperature, new_share=kept)


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


def judged(model: DeviceModel, prepared: Prepared, segments: Segments) -> PersonMetrics:
    def task(split: int) -> tuple[Histories, Cases]:
        cases = next_basket_cases(prepared, split)
        context = context_of(prepared, cases.baskets, segments)
        return histories_of(prepared, cases.baskets, LENGTH, context), cases

    people = len(prepared.pseudonym)
    calibrate(model, *task(VALIDATION), people)
    return evaluate_device_model(model, *task(TEST), people, lambda *_: None)


def measure(prepared: Prepared, labels: SoftLabels, steps: int, seed: int) -> list[dict]:
    segments, rows = fit_segments(prepared, seed), []
    first: PersonMetrics | None = None
    for name, variant in VARIANTS.items():
        recipe = replace(variant.recipe, steps=steps)
        model = distilled(prepared, segments, tempered(labels, variant.temperature), recipe, seed, name)
        found = judged(model, prepared, segments)
        first = first or found
        row: dict = {"variant": name}
        for figure in ("ndcg", "new_ndcg"):
            values, reference = getattr(found, figure), getattr(first, figure)
            row[figure] = float(np.nanmean(values))
            row[f"{figure}_kept"] = msgspec.to_builtins(relative_difference(values, reference, seed))
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def markdown(rows: list[dict]) -> str:
    lines = ["| distilled | NDCG@10 | kept | of new items | kept |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        cells = [row["variant"]]
        for figure in ("ndcg", "new_ndcg"):
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
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train_repeatably()
    rows = measure(
        load_prepared(arguments.prepared), load_soft_labels(arguments.trained), arguments.steps, arguments.seed
    )
    result = {"steps": arguments.steps, "seed": arguments.seed, "rows": rows}
    (arguments.out / "distillation.json").write_text(json.dumps(result, indent=2) + "\n")
    (arguments.out / "distillation.md").write_text(markdown(rows))
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()
