"""How long the next-item teacher takes to the best validation NDCG@10 of RecBole's SASRec, on the same processors.

    python -m venv recbole
    recbole/bin/pip install torch==2.13.0 recbole==1.2.1 "setuptools<81" "numpy<2" "pandas<3" "scipy<1.17"
    python benchmarks/next_item_speed.py ml-1m.parquet --recbole recbole/bin/python --out runs/speed

Both have width 64, two blocks and two heads and read histories of equal length; both train on what precedes the last
two events of each person and are asked for the last but one, among all items that the person has not seen. Seconds are
those of training alone. RecBole trains until it no longer improves or `--minutes` are over; its best by then is the
goal.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import polars as pl
import torch

from training.sequence.fit import Epoch, NextItemRecipe, fit_next_item
from training.sequence.initial_vectors import new_transformer
from training.sequence.leave_one_out import ndcg_of_ranks, ranks
from training.sequence.sequences import VALIDATION_HELD_OUT, Sequences, sequences_of
from training.sequence.transformer import NextItemTransformer, TransformerShape

PEER = Path(__file__).with_name("recbole_sasrec.py")
SEED = 1


def write_inter(table: pl.DataFrame, folder: Path) -> None:
    (folder / "log").mkdir(parents=True, exist_ok=True)
    named = table.select(
        pl.col("user_id").alias("user_id:token"),
        pl.col("item_id").alias("item_id:token"),
        pl.col("position").cast(pl.Float64).alias("timestamp:float"),
    )
    named.write_csv(folder / "log" / "log.inter", separator="\t")


def peer(python: Path, folder: Path, length: int, epochs: int, minutes: float) -> list[dict]:
    """What RecBole said after every quarter of an epoch."""
    command = [str(python), str(PEER), str(folder), str(length), str(epochs), str(minutes)]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                rows.append(json.loads(line))
                print("RecBole", line.strip(), flush=True)
    if process.returncode or not rows:
        raise SystemExit(f"{PEER.name} failed: see above")
    return rows


def ours(sequences: Sequences, length: int, epochs: int) -> list[dict]:
    """Seconds and validation NDCG@10 after every epoch."""
    learned = sequences.without_last(VALIDATION_HELD_OUT)
    shape = TransformerShape(width=64, blocks=2, heads=2, length=length, dropout=0.2)
    rows: list[dict] = []
    started, validated = time.monotonic(), 0.0
    model = new_transformer(shape, learned, SEED)

    def after_epoch(epoch: Epoch, averaged: NextItemTransformer) -> None:
        nonlocal validated
        spent, begin = time.monotonic() - started - validated, time.monotonic()
        ndcg = float(ndcg_of_ranks(ranks(averaged.scores, sequences, VALIDATION_HELD_OUT, length)).mean())
        validated += time.monotonic() - begin
        rows.append({"epoch": epoch.number, "seconds": spent, "ndcg_at_10": ndcg})
        print("pocketrec", json.dumps(rows[-1]), flush=True)

    fit_next_item(model, learned, NextItemRecipe(shape=shape, epochs=epochs), SEED, after_epoch)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="Parquet with user_id, item_id and position, such as ML-1M")
    parser.add_argument("--recbole", type=Path, required=True, help="Python of an environment that has RecBole")
    parser.add_argument("--out", type=Path, required=True, help="folder for speed.json")
    parser.add_argument("--length", type=int, default=50, help="of histories")
    parser.add_argument("--minutes", type=float, default=600.0, help="that RecBole may train")
    parser.add_argument("--epochs", type=int, default=12, help="over which ours lowers its rate")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    out, table = arguments.out.resolve(), pl.read_parquet(arguments.log)
    write_inter(table, out)
    sequences = sequences_of(*(table[name].to_numpy() for name in ("user_id", "item_id", "position")))
    theirs = peer(arguments.recbole.absolute(), out, arguments.length, 300, arguments.minutes)
    best = max(theirs, key=lambda row: row["ndcg_at_10"])
    found = ours(sequences, arguments.length, arguments.epochs)
    reached = next((row["seconds"] for row in found if row["ndcg_at_10"] >= best["ndcg_at_10"]), None)
    result = {
        "length": arguments.length,
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "recbole": theirs,
        "pocketrec": found,
        "goal": best,
        "times_faster": best["seconds"] / reached if reached else None,
    }
    (out / "speed.json").write_text(json.dumps(result, indent=2) + "\n")
    said = f"{result['times_faster']:.1f} times faster" if reached else "not reached"
    begun = "" if theirs[-1]["seconds"] < 60 * arguments.minutes else f" of its first {arguments.minutes:g} minutes"
    print(f"RecBole's best{begun}, {best['ndcg_at_10']:.4f} after {best['seconds']:.0f} s: {said}")


if __name__ == "__main__":
    main()
