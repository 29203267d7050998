"""Next-item quality on a log with published results: the teacher, and what is left of it in small artifacts.

    python benchmarks/quality.py ml-1m.parquet --out runs/quality

Leave-one-out; every item that the person has not seen is ranked; models learn from what precedes both held-out events,
and what was chosen was chosen on the validation event. The figures of a device model are those of its `model.tflite`,
answered by LiteRT one person at a time. Finished parts are kept in the folder and not made again; a training that was
killed goes on from its last epoch. Three seeds take hours on two cores.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from compression.device_spec import DeviceModelSpec
from compression.next_item import NextItemDistillation, distil_next_item, inputs_of, new_student
from compression.passes import compressed
from compression.recipe import parse_recipe
from compression.repeatable import train_repeatably
from contracts.bundle import TFLITE, WISH, WISHES, ContextField, Estimate
from export.artifacts import exporters
from export.latency import measure_latency
from export.runtimes import LiteRtEvaluator
from training.evaluation import CUTOFF, estimate, relative_difference
from training.sequence.fit import Epoch, NextItemRecipe, fit_next_item
from training.sequence.heed import Choice, best_heed
from training.sequence.initial_vectors import new_transformer
from training.sequence.leave_one_out import BATCH, ScoreRecent, hits_of_ranks, ndcg_of_ranks, ranks
from training.sequence.rules import popularity, sequence_rules
from training.sequence.sequences import TEST_HELD_OUT, VALIDATION_HELD_OUT, Sequences, sequences_of
from training.sequence.soft_labels import FILE as LABELS_FILE
from training.sequence.soft_labels import (
    NextItemLabels,
    load_next_item_labels,
    make_next_item_labels,
    save_next_item_labels,
)
from training.sequence.transformer import NextItemTransformer
from training.sequence.transitions import NextItemTeacher, Transitions

LENGTH = 200
LABELS = 64  # of the teacher's best items
CONTEXT = (ContextField(WISH, len(WISHES) + 1, WISHES),)
CANDIDATES = 100
ASKED = 2_000  # people whose lists are compared with the teacher's
TIMED, LENGTHS_TIMED = 20, (50, 200)  # people, items
SEED_OF_INTERVALS = 7


@dataclass(frozen=True)
class Device:
    """A device model to be measured."""

    width: int  # of item vectors
    blocks: int
    hidden: int  # width of the blocks
    feed: int  # the feed-forward layers are this times as wide
    epochs: int
    recipe: str
    most_bytes: int
    least_share: float  # of the teacher's NDCG@10


DEVICES = {
    "small": Device(64, 2, 96, 1, 24, "dynamic_wi8_afp32_ti4", 300_000, 0.97),
    "tiny": Device(40, 2, 44, 1, 40, "dynamic_wi8_afp32_ti4", 130_000, 0.93),
}


def read(path: Path) -> Sequences:
    table = pl.read_parquet(path)
    return sequences_of(*(table[name].to_numpy() for name in ("user_id", "item_id", "position")))


def teacher_of(sequences: Sequences, recipe: NextItemRecipe, seed: int, folder: Path) -> NextItemTeacher:
    """The teacher of a seed, its transitions heeded as the validation event says."""
    transformer = transformer_of(sequences, recipe, seed, folder)
    transitions = Transitions.of(sequences.without_last(VALIDATION_HELD_OUT))
    return NextItemTeacher(transformer, transitions, heed_of(transformer.scores, transitions.log_shares, sequences))


def heed_of(scores: ScoreRecent, log_shares: ScoreRecent, sequences: Sequences) -> float:
    """What the validation event says of transitions."""
    before, target = sequences.without_last(VALIDATION_HELD_OUT), sequences.held_out(VALIDATION_HELD_OUT)

    def choices() -> Iterator[Choice]:
        recent = before.last(LENGTH)
        for first in range(0, len(sequences), BATCH):
            people = np.arange(first, min(first + BATCH, len(sequences)))
            wanted, seen = (torch.zeros(len(people), sequences.items + 1, dtype=torch.bool) for _ in range(2))
            wanted.scatter_(1, torch.from_numpy(target[people].astype(np.int64))[:, None], True)
            for row, person in enumerate(people):
                seen[row, torch.from_numpy(before.of(int(person)).astype(np.int64))] = True
            yield Choice(scores(recent[people]), log_shares(recent[people]), wanted, seen & ~wanted)

    return best_heed(choices())


def transformer_of(sequences: Sequences, recipe: NextItemRecipe, seed: int, folder: Path) -> NextItemTransformer:
    """The transformer of a seed, trained or read; progress goes to teacher.json, validation every fifth epoch."""
    learned = sequences.without_last(VALIDATION_HELD_OUT)
    model = new_transformer(recipe.shape, learned, seed)
    finished, log = folder / "teacher.pt", folder / "teacher.json"
    if finished.exists():
        model.load_state_dict(torch.load(finished, weights_only=True))
        return model.eval()
    epochs = json.loads(log.read_text()) if log.exists() else []
    bar = tqdm(total=recipe.epochs, desc=f"teacher {seed}", unit="epoch")
    last = time.monotonic()

    def after_epoch(epoch: Epoch, averaged: NextItemTransformer) -> None:
        nonlocal last
        seconds = time.monotonic() - last
        row = {"epoch": epoch.number, "loss": epoch.loss, "targets_per_second": epoch.positions / seconds}
        if epoch.number % 5 == 0:
            row["validation_ndcg"] = float(ndcg_of_ranks(ranked(averaged, sequences, VALIDATION_HELD_OUT)).mean())
        epochs[epoch.number - 1 :] = [row]
        log.write_text(json.dumps(epochs, indent=1))
        bar.n, last = epoch.number, time.monotonic()
        bar.set_postfix({name: f"{value:.4g}" for name, value in row.items() if name != "epoch"})

    model = fit_next_item(model, learned, recipe, seed, after_epoch, folder / "teacher.checkpoint")
    torch.save(model.state_dict(), finished)
    (folder / "teacher.checkpoint").unlink(missing_ok=True)
    return model


def ranked(model: NextItemTransformer | NextItemTeacher, sequences: Sequences, held_out: int) -> NDArray[np.int64]:
    return ranks(model.scores, sequences, held_out, LENGTH)


def spec_of(device: Device, sequences: Sequences, length: int) -> DeviceModelSpec:
    return DeviceModelSpec(
        items=sequences.items,
        context=CONTEXT,
        history_length=length,
        candidates=CANDIDATES,
        width=device.width,
        heads=2,
        blocks=device.blocks,
        hidden=device.hidden,
        feed=device.feed,
    )


def labels_of(teacher: NextItemTeacher, learned: Sequences, folder: Path) -> NextItemLabels:
    """What the teacher says of every event, made once for all device models."""
    if not (folder / LABELS_FILE).exists():
        save_next_item_labels(make_next_item_labels(teacher, learned, LABELS), folder)
    return load_next_item_labels(folder)


def artifact_of(
    name: str, sequences: Sequences, teacher: NextItemTeacher, epochs: int | None, seed: int, folder: Path
) -> dict[int, Path]:
    """A device model's TFLite files by the history length that each reads: the same weights."""
    device = DEVICES[name]
    distil = NextItemDistillation(epochs=epochs or device.epochs)
    paths = {length: folder / name / str(length) / TFLITE for length in LENGTHS_TIMED}
    if all(path.exists() for path in paths.values()):
        return paths
    learned = sequences.without_last(VALIDATION_HELD_OUT)
    bar = tqdm(total=distil.epochs, desc=f"{name} {seed}", unit="epoch")
    labels = labels_of(teacher, learned, folder)
    spec = spec_of(device, sequences, LENGTH)
    recipe = parse_recipe(device.recipe)
    model = new_student(spec, labels, seed, recipe)
    distil_next_item(model, learned, labels, distil, seed, lambda done, _: bar.update(done - bar.n))
    model = compressed(model, recipe)
    for length, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        model.spec = replace(spec, history_length=length)
        exporters()[TFLITE].export(model, path, "shipped")
    return paths


def ranks_on_device(path: Path, device: Device, sequences: Sequences, length: int) -> NDArray[np.int64]:
    """Where the test item stands in what the artifact answers, what was seen before its history removed too."""
    evaluator, spec = LiteRtEvaluator(path), spec_of(device, sequences, length)
    before, target = sequences.without_last(TEST_HELD_OUT), sequences.held_out(TEST_HELD_OUT)
    recent = before.last(length)
    found = np.full(len(sequences), CANDIDATES, np.int64)
    for person in range(len(sequences)):
        items, _ = evaluator.rank({n: v.numpy() for n, v in inputs_of(recent[person : person + 1], spec).items()})
        unseen = items[~np.isin(items, before.of(person)) | (items == target[person])]
        place = np.flatnonzero(unseen == target[person])
        found[person] = place[0] if len(place) else CANDIDATES
    return found


def agreement(path: Path, device: Device, sequences: Sequences, teacher: NextItemTeacher) -> float:
    """The NDCG@10 that the teacher would expect of the artifact's lists, over what it expects of its own.

    Asked with all but the last event of some people. No single event decides it, so that it tells apart by a few
    thousandths what differs by chance in NDCG@10 of what followed.
    """
    evaluator, spec = LiteRtEvaluator(path), spec_of(device, sequences, LENGTH)
    before = sequences.without_last(TEST_HELD_OUT)
    people = np.random.default_rng(SEED_OF_INTERVALS).permutation(len(sequences))[:ASKED]
    discount = 1.0 / np.log2(np.arange(2, CUTOFF + 2))
    expected = best = 0.0
    for some in np.array_split(people, max(len(people) // BATCH, 1)):
        recent = before.last(LENGTH)[some]
        scores = teacher.scores(recent).numpy()
        scores[:, 0] = -np.inf
        for row, person in enumerate(some):
            scores[row, before.of(person)] = -np.inf
            share = np.exp(scores[row] - scores[row].max())
            inputs = inputs_of(recent[row : row + 1], spec)
            items, _ = evaluator.rank({name: value.numpy() for name, value in inputs.items()})
            found = items[~np.isin(items, before.of(person))][:CUTOFF]
            expected += float(share[found] @ discount[: len(found)] / share.sum())
            best += float(np.sort(share)[: -CUTOFF - 1 : -1] @ discount / share.sum())
    return expected / best


def milliseconds(path: Path, device: Device, sequences: Sequences, length: int) -> float:
    """Median time of a call on one thread."""
    inputs = inputs_of(sequences.last(length)[:TIMED], spec_of(device, sequences, length))
    feeds = [{name: value[row : row + 1].numpy() for name, value in inputs.items()} for row in range(TIMED)]
    return measure_latency(LiteRtEvaluator(path), feeds).p50


def row_of(
    name: str, by_seed: list[NDArray[np.int64]], teacher: list[NDArray[np.int64]] | None, **more: object
) -> dict:
    """Mean over seeds of each person's gain with its interval over people; the seeds' own means beside it."""
    ndcg = np.stack([ndcg_of_ranks(found) for found in by_seed])
    hits = np.stack([hits_of_ranks(found) for found in by_seed])
    row = {
        "model": name,
        "ndcg_at_10": vars_of(estimate(ndcg.mean(0), SEED_OF_INTERVALS)),
        "hit_rate_at_10": vars_of(estimate(hits.mean(0), SEED_OF_INTERVALS)),
        "ndcg_of_seeds": ndcg.mean(1).tolist(),
        "hit_rate_of_seeds": hits.mean(1).tolist(),
    }
    if teacher is not None:
        reference = np.stack([ndcg_of_ranks(found) for found in teacher]).mean(0)
        difference = relative_difference(ndcg.mean(0), reference, SEED_OF_INTERVALS)
        row["share_of_teacher"] = {key: 1.0 + value for key, value in vars_of(difference).items()}
    return row | more


def vars_of(found: Estimate) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def markdown(rows: list[dict]) -> str:
    heads = ("model", "NDCG@10", "HR@10", "spread of seeds", "share of teacher", "agreement", "bytes")
    columns = [*heads, *(f"p50 ms, {length}" for length in LENGTHS_TIMED)]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        cells = [row["model"]]
        for key in ("ndcg_at_10", "hit_rate_at_10"):
            cells.append("{value:.4f} [{low:.4f}, {high:.4f}]".format(**row[key]))
        seeds = row["ndcg_of_seeds"]
        cells.append(f"±{stdev(seeds):.4f} of {len(seeds)}" if len(seeds) > 1 else "one seed")
        share = row.get("share_of_teacher")
        cells.append("{value:.1%} [{low:.1%}, {high:.1%}]".format(**share) if share else "")
        cells.append(f"{row['agreement']:.1%}" if "agreement" in row else "")
        cells.append(f"{row['bytes']:,}" if "bytes" in row else "")
        cells += [f"{row['milliseconds'][str(n)]:.2f}" if "milliseconds" in row else "" for n in LENGTHS_TIMED]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="Parquet with user_id, item_id and position, such as ML-1M")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="where parts and results are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=NextItemRecipe.epochs, help="of the teacher")
    parser.add_argument("--device-epochs", type=int, help="of device models, instead of each one's own")
    parser.add_argument("--devices", nargs="*", choices=DEVICES, default=list(DEVICES), help="none: the teacher alone")
    arguments = parser.parse_args()
    train_repeatably()
    sequences = read(arguments.log)
    recipe = NextItemRecipe(epochs=arguments.epochs)
    learned = sequences.without_last(VALIDATION_HELD_OUT)
    rows = [
        row_of(name, [ranks(model(learned), sequences, TEST_HELD_OUT, LENGTH)], None)
        for name, model in (("popularity", popularity), ("sequence rules", sequence_rules))
    ]
    of_teacher: list[NDArray[np.int64]] = []
    of_transformer: list[NDArray[np.int64]] = []
    heeds: list[float] = []
    of_devices: dict[str, list[NDArray[np.int64]]] = {name: [] for name in DEVICES}
    agreements: dict[str, list[float]] = {name: [] for name in DEVICES}
    paths: dict[str, dict[int, Path]] = {}
    for seed in range(1, arguments.seeds + 1):
        folder = arguments.out / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        teacher = teacher_of(sequences, recipe, seed, folder)
        of_teacher.append(ranked(teacher, sequences, TEST_HELD_OUT))
        of_transformer.append(ranked(teacher.transformer, sequences, TEST_HELD_OUT))
        heeds.append(teacher.heed)
        for name in arguments.devices:
            paths[name] = artifact_of(name, sequences, teacher, arguments.device_epochs, seed, folder)
            of_devices[name].append(ranks_on_device(paths[name][LENGTH], DEVICES[name], sequences, LENGTH))
            agreements[name].append(agreement(paths[name][LENGTH], DEVICES[name], sequences, teacher))
    rows.append(row_of("teacher", of_teacher, None, heeds=heeds))
    rows.append(row_of("teacher without transitions", of_transformer, None))
    for name, found in of_devices.items():
        if found:
            device = DEVICES[name]
            times = {str(n): milliseconds(path, device, sequences, n) for n, path in paths[name].items()}
            size = paths[name][LENGTH].stat().st_size
            agreed = float(np.mean(agreements[name]))
            rows.append(row_of(name, found, of_teacher, agreement=agreed, bytes=size, milliseconds=times))
    settings = {"epochs": arguments.epochs, "device_epochs": arguments.device_epochs, "seeds": arguments.seeds}
    (arguments.out / "quality.json").write_text(json.dumps({"settings": settings, "rows": rows}, indent=2) + "\n")
    (arguments.out / "quality.md").write_text(markdown(rows))
    for row in rows:
        if "bytes" in row:
            device = DEVICES[row["model"]]
            held = row["bytes"] <= device.most_bytes and row["share_of_teacher"]["value"] >= device.least_share
            print(f"{row['model']}: {'holds' if held else 'falls short of'} its bar")
    print(markdown(rows), end="")


if __name__ == "__main__":
    main()
