"""A large real catalogue under item codes and their alternatives, beside the same model over a dense float32 table.

    python benchmarks/coded_quality.py PREPARED TRAINED --out results/

PREPARED is what `pocketrec prepare` leaves of Complete Journey with `[clean] minimum_people = 1`: every product that a
central household ever bought. TRAINED is what `pocketrec train` made of it.

First the device model is distilled over a dense float32 table. Each table, the dense one too, then starts from that
model's, and the whole model is trained on jointly with it for a third of the steps at a quarter of the rates. NDCG@10
is that of the next baskets in the test weeks, averaged over people: of all items, of items that are new to the person,
and of all items with the copy head off, when the catalogue's vectors alone rank. Each is the mean over seeds of every
person's. `kept` is the share of what the dense models have after as many steps, with its 95 % interval by a paired
bootstrap of people. Bytes are those of the table alone.

`coded_table_BOOKS.npz` are the coded tables as they were trained by the last seed, for benchmarks/catalogue_size.py.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import msgspec
import numpy as np
import tensorflow as tf
import torch
from numpy.typing import NDArray

from compression.balanced_lists import list_order
from compression.coding import column_weights, joint_recipe, trainable_codes
from compression.compress import initial_table
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.distillation import DistillationRecipe, distil
from compression.hashed_table import OWN, HashedTable
from compression.item_codes import TrainableCodes, list_length
from compression.kept_zeros import zeros_kept
from compression.low_rank_table import LowRankTable
from compression.renumbering import renumbered_labels, renumbered_log
from training.calibration import best_offset
from training.cases import TEST, VALIDATION, next_basket_cases
from training.context import context_fields, context_of
from training.evaluation import evaluate, relative_difference
from training.examples import examples_of
from training.histories import histories_of
from training.prepared import Prepared, load_prepared
from training.segments import Segments, fit_segments
from training.soft_labels import SoftLabels, load_soft_labels

LENGTH, WIDTH = 256, 64
BOOKS = (16, 8)
FIGURES = ("all", "new", "copy_head_off")
DENSE = "dense float32"
KEPT_QUERIES = 2_000
Array = NDArray[np.float32]
Found = dict[str, NDArray[np.float64]]
"""Every person's NDCG@10 by figure."""


@dataclass(frozen=True)
class Setting:
    """One numbering of the catalogue, and everything under it."""

    prepared: Prepared
    labels: SoftLabels
    segments: Segments
    order: NDArray[np.int64]  # [items + 1] old numbers

    @classmethod
    def of(cls, prepared: Prepared, labels: SoftLabels, order: NDArray[np.int64], seed: int) -> "Setting":
        moved = renumbered_log(prepared, order)
        return cls(moved, renumbered_labels(labels, order), fit_segments(moved, seed), order)


def train(model: DeviceModel, setting: Setting, recipe: DistillationRecipe, seed: int, what: str) -> None:
    examples = examples_of(setting.prepared, setting.labels.baskets, LENGTH, setting.segments)

    def report(done: int, total: int) -> None:
        if done % 30 == 0 or done == total:
            print(f"{what}: {done} of {total} steps", flush=True)

    distil(model, examples, setting.labels, recipe, seed, report)


def judge(model: DeviceModel, values: Array, setting: Setting) -> tuple[Found, Array]:
    """Every person's NDCG@10 by what is ranked, and some queries."""
    table = torch.from_numpy(np.ascontiguousarray(values.T))
    encode = tf.function(model.encode, reduce_retracing=True)
    people = len(setting.prepared.pseudonym)

    def encoded(split: int) -> tuple:
        cases = next_basket_cases(setting.prepared, split)
        context = context_of(setting.prepared, cases.baskets, setting.segments)
        histories = histories_of(setting.prepared, cases.baskets, LENGTH, context)
        parts = []
        for first in range(0, len(cases), 256):
            batch = histories[slice(first, first + 256)]
            query, base, gain = encode(*(tf.constant(value) for value in vars(batch).values()))
            parts.append((query.numpy(), (base + gain).numpy()))
        queries, own = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
        return cases, queries, torch.from_numpy(histories.items).long(), own

    cases, queries, items, own = encoded(VALIDATION)
    offset = best_offset(lambda rows: (queries[rows] @ table, items[rows], own[rows]), cases, people)
    cases, queries, items, own = encoded(TEST)
    both = evaluate(lambda rows: (queries[rows] @ table).scatter(1, items[rows], own[rows] + offset), cases, people)
    vectors = evaluate(lambda rows: queries[rows] @ table, cases, people)
    return {"all": both.ndcg, "new": both.new_ndcg, "copy_head_off": vectors.ndcg}, queries.numpy()


def weights_of(model: DeviceModel) -> tuple:
    return model.token_encoder.get_weights(), model.query_encoder.get_weights(), model.adapter_values()


def model_with(spec: DeviceModelSpec, table: object, weights: tuple, seed: int) -> DeviceModel:
    model = DeviceModel.create(spec, np.zeros((2, WIDTH), np.float32), seed)
    model.token_encoder.set_weights(weights[0])
    model.query_encoder.set_weights(weights[1])
    for name, value in weights[2].items():
        model.adapter[name].assign(value)
    model.table = table
    return model


def measure(
    prepared: Prepared, labels: SoftLabels, recipe: DistillationRecipe, seed: int, out: Path
) -> Iterator[tuple[str, int, Found]]:
    """One seed's tables: name, bytes, and what the model over it found."""
    values, divisor, middle = initial_table(labels, WIDTH)
    setting = Setting.of(prepared, labels, np.arange(len(values)), seed)
    spec = DeviceModelSpec(items=len(values) - 1, context=context_fields(setting.segments), width=WIDTH)
    model = DeviceModel.create(spec, values, seed)
    model.adapter["popularity"].assign([divisor])
    model.adapter["copy_offset"].assign([-middle])
    train(model, setting, replace(recipe, quantize_from=1.0), seed, DENSE)
    values, weights = model.table.values.numpy(), weights_of(model)
    before, _ = judge(model, values, setting)
    joint = joint_recipe(recipe)
    with zeros_kept(model):
        train(model, setting, replace(joint, quantize_from=1.0), seed, f"{DENSE}, trained on")
    yield DENSE, values.nbytes, judge(model, model.table.values.numpy(), setting)[0]
    yield "the same before it was trained on", values.nbytes, before
    matters = column_weights(labels, divisor)
    by_lists = Setting.of(prepared, labels, list_order(values * np.sqrt(matters), list_length(spec.items), seed), seed)

    def coded(books: int) -> TrainableCodes:
        return trainable_codes(values, labels, matters, by_lists.order, books, seed)

    # The alternatives get as many bytes as the codes of a build.
    rank, buckets = BOOKS[0], max(1, (BOOKS[0] - 2 * OWN) * len(values) // (WIDTH - 2))
    makers: dict[str, tuple[Setting, Callable]] = {
        f"{books} item codes": (by_lists, lambda books=books: coded(books)) for books in BOOKS
    }
    makers["low rank"] = (setting, lambda: LowRankTable(values, rank, matters))
    makers["hashed"] = (setting, lambda: HashedTable(values, buckets))
    for name, (where, make) in makers.items():
        model = model_with(spec, make(), weights, seed)
        with zeros_kept(model):
            train(model, where, joint, seed, name)
        stored = model.table.frozen()
        found, queries = judge(model, stored.values(), where)
        yield name, stored.nbytes, found
        if name.endswith("item codes"):
            chosen = np.random.default_rng(seed).permutation(len(queries))[:KEPT_QUERIES]
            trained = {"values": model.table.values.numpy(), "books": stored.books}
            path = out / f"coded_table_{len(stored.books)}.npz"
            np.savez(path, **trained, weights=matters, queries=queries[chosen])


def row_of(name: str, sizes: Sequence[int], found: Sequence[Found], dense: Sequence[Found], seed: int) -> dict:
    """A table's figures over all seeds, beside those of the dense models."""
    row: dict = {"table": name, "bytes": max(sizes)}
    for figure in FIGURES:
        values, reference = (np.mean([each[figure] for each in of_seeds], 0) for of_seeds in (found, dense))
        row[figure] = float(np.nanmean(values))
        row[f"{figure}_of_seeds"] = [float(np.nanmean(each[figure])) for each in found]
        row[f"{figure}_kept"] = msgspec.to_builtins(relative_difference(values, reference, seed))
    return row


def markdown(result: dict) -> str:
    header = ["table", "MB", *(f"{figure.replace('_', ' ')} (kept)" for figure in FIGURES)]
    lines = [f"| {' | '.join(header)} |", "| --- |" + " ---: |" * (len(header) - 1)]
    for row in result["rows"]:
        cells = [row["table"], f"{row['bytes'] / 1e6:.2f}"]
        for figure in FIGURES:
            kept = row[f"{figure}_kept"]
            interval = f"{1 + kept['value']:.1%}, {1 + kept['low']:.1%} to {1 + kept['high']:.1%}"
            cells.append(f"{row[figure]:.4f} ({interval})")
        lines.append(f"| {' | '.join(cells)} |")
    said = f"{result['items']:,} items; {result['steps']} steps, then {result['joint_steps']}; seeds {result['seeds']}."
    return "\n".join([*lines, "", said]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="folder that `pocketrec prepare` made")
    parser.add_argument("trained", type=Path, help="folder that `pocketrec train` made of it")
    parser.add_argument("--out", type=Path, required=True, help="folder for coded_quality.json, .md and coded tables")
    parser.add_argument("--steps", type=int, default=DistillationRecipe().steps)
    parser.add_argument("--seed", type=int, default=7, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = replace(DistillationRecipe(), steps=arguments.steps)
    prepared, labels = load_prepared(arguments.prepared), load_soft_labels(arguments.trained)
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    tables: dict[str, tuple[list[int], list[Found]]] = {}
    for seed in seeds:
        for name, size, found in measure(prepared, labels, recipe, seed, arguments.out):
            sizes, by_seed = tables.setdefault(name, ([], []))
            sizes.append(size)
            by_seed.append(found)
            dense = tables[DENSE][1][: len(by_seed)]
            print(json.dumps(row_of(name, sizes, by_seed, dense, arguments.seed)), flush=True)
    result = {
        "items": len(prepared.items.item_id) - 1,
        "steps": recipe.steps,
        "joint_steps": joint_recipe(recipe).steps,
        "seeds": list(seeds),
        "rows": [row_of(name, *parts, tables[DENSE][1], arguments.seed) for name, parts in tables.items()],
    }
    print(markdown(result), end="")
    (arguments.out / "coded_quality.json").write_text(json.dumps(result, indent=2) + "\n")
    (arguments.out / "coded_quality.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
