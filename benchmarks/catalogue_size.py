"""Ranking a catalogue of 10^4 to 10^6 items on one thread: an int8 table, item codes searched by lists, and Faiss.

    python benchmarks/coded_quality.py PREPARED TRAINED --out results/      # trains the codes, leaves coded tables
    python benchmarks/catalogue_size.py results/coded_table_8.npz --out results/

Items. The codewords are those that were trained jointly with a model on Complete Journey's products. A smaller
catalogue is a sample of these products. A larger one is all of them and items drawn from a mixture fitted to their
trained vectors: the products are divided into 256 neighbourhoods of equal size (`compression.balanced_lists`); each is
one Gaussian with its members' mean and covariance, a tenth of which is replaced by its diagonal, and all are equally
likely. Every catalogue is numbered by lists anew, its list centres are its lists' means, and each item takes the
nearest of the trained codewords. Queries are the trained model's own for people of the test weeks.

Ranking. `dense` and `coded` are the `model.tflite` that a build ships, with an int8 item table and with item codes:
their bytes and their `recommend` of a history of 256 items, the best 100 answered. `search` is the coded model's
ranking alone, from a query on. Faiss's indices get 8 bytes an item as well, as 4-bit codes, in native code on one
thread, and know neither history nor model.

The overlap compares the search's ten best with an exhaustive scan's of the same codes.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from compression.balanced_lists import list_order
from compression.device_model import DeviceModel, DeviceModelSpec, build_query_encoder, build_token_encoder
from compression.inverted_lists import PROBES, FrozenCodes
from compression.item_codes import StoredCodes, code_table, list_length
from compression.item_table import FrozenTable, store
from contracts.bundle import TFLITE, ContextField
from export.artifacts import exporters
from export.catalogue import EVERYONE, CatalogueContents, CatalogueItem, write_catalogue
from export.latency import host

SIZES = (10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
NEIGHBOURHOODS = 256
DIAGONAL = 0.1  # of a covariance
LENGTH, CANDIDATES, TOP = 256, 100, 10
WARM_UP, CALLS = 20, 200
OVERLAP_QUERIES = 500
FAISS_TRAINING = 65_000
COLUMNS = (
    ("items", "{:,}"),
    ("dense_ms", "{:.2f}"),
    ("coded_ms", "{:.2f}"),
    ("speedup", "{:.1f}x"),
    ("overlap_at_10", "{:.3f}"),
    ("search_ms", "{:.2f}"),
    ("faiss_lists_ms", "{:.2f}"),
    ("faiss_scan_ms", "{:.2f}"),
    ("dense_mb", "{:.2f}"),
    ("coded_mb", "{:.2f}"),
    ("catalogue_mb", "{:.1f}"),
)

Array = NDArray[np.float32]


def drawn_items(vectors: Array, weights: Array, count: int, rng: np.random.Generator) -> Array:
    """float32 [count, width]: draws from the mixture described above, in random order."""
    length = -(-len(vectors) // NEIGHBOURHOODS)
    order = list_order(np.concatenate([vectors[:1], vectors]) * np.sqrt(weights), length, 0)
    members = np.array_split(order[order > 0] - 1, NEIGHBOURHOODS)
    parts = []
    for part, draws in zip(members, rng.multinomial(count, [1 / NEIGHBOURHOODS] * NEIGHBOURHOODS), strict=True):
        covariance = np.cov(vectors[part].T)
        shrunk = (1 - DIAGONAL) * covariance + np.diag(DIAGONAL * np.diag(covariance) + 1e-9)
        noise = rng.standard_normal((draws, vectors.shape[1]), dtype=np.float32)
        parts.append(vectors[part].mean(0) + noise @ np.linalg.cholesky(shrunk).T.astype(np.float32))
    return rng.permutation(np.concatenate(parts))


def catalogue_of(items: int, real: Array, weights: Array, seed: int) -> Array:
    """float32 [items + 1, width], numbered by lists; row 0 is padding."""
    rng = np.random.default_rng(seed)
    if items <= len(real):
        vectors = real[rng.choice(len(real), items, replace=False)]
    else:
        vectors = np.concatenate([real, drawn_items(real, weights, items - len(real), rng)])
    table = np.concatenate([np.zeros((1, real.shape[1]), np.float32), vectors])
    return table[list_order(table * np.sqrt(weights), list_length(items), seed)]


def search_graph(codes: FrozenCodes, width: int) -> bytes:
    """Ranking alone, as TensorFlow Lite: a query and a history's items and scores -> the best."""

    def rank(query: tf.Tensor, history: tf.Tensor, own: tf.Tensor) -> dict[str, tf.Tensor]:
        items, scores = codes.recommend(query, history, own, CANDIDATES)
        return {"items": items, "scores": scores}

    holder = tf.Module()
    holder.codes = codes
    inputs = [
        tf.TensorSpec((1, width), tf.float32, name="query"),
        tf.TensorSpec((1, LENGTH), tf.int32, name="history"),
        tf.TensorSpec((1, LENGTH), tf.float32, name="own"),
    ]
    holder.ranked = tf.function(rank, input_signature=inputs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([holder.ranked.get_concrete_function()], holder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


def shipped_model(table: FrozenTable | FrozenCodes, items: int, width: int) -> bytes:
    """`model.tflite` of a device model around a catalogue."""
    spec = DeviceModelSpec(
        items=items, context=(ContextField("hour_of_week", 168),), width=width, candidates=CANDIDATES
    )
    adapter = DeviceModel.create(spec, np.zeros((2, width), np.float32), 0).adapter_values()
    model = DeviceModel(spec, table, build_token_encoder(spec), build_query_encoder(spec), adapter)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, TFLITE)
        exporters()[TFLITE].export(model, path, "shipped")
        return path.read_bytes()


def feed_of(items: int) -> dict[str, np.ndarray]:
    """An input of `recommend`."""
    rng = np.random.default_rng(0)
    return {
        "items": rng.choice(np.arange(1, items + 1, dtype=np.int32), (1, LENGTH), replace=False),
        "events": np.full((1, LENGTH), 9, np.int32),
        "counts": rng.exponential(1.0, (1, LENGTH)).astype(np.float32),
        "ages": rng.exponential(1_000.0, (1, LENGTH)).astype(np.float32),
        "context": np.zeros((1, 1), np.int32),
    }


def runner(model: bytes) -> Callable[..., Mapping[str, np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=model, num_threads=1).get_signature_runner()


def medians(calls: Mapping[str, Callable[[int], object]]) -> dict[str, float]:
    """Milliseconds of each call, all timed in turn so that a busy moment of the host meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + CALLS):
        for name, call in calls.items():
            start = time.perf_counter_ns()
            call(number)
            times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: float(np.median(each[WARM_UP:])) for name, each in times.items()}


def faiss_indices(table: Array, lists: int, rng: np.random.Generator) -> dict[str, object]:
    """Fast-scan indices of the same catalogue at 8 bytes an item: with lists, and without."""
    import faiss

    faiss.omp_set_num_threads(1)
    width, codes = table.shape[1], 16  # 4-bit codes
    sample = table[1 + rng.permutation(len(table) - 1)[:FAISS_TRAINING]]
    with_lists = faiss.index_factory(width, f"IVF{lists},PQ{codes}x4fs", faiss.METRIC_INNER_PRODUCT)
    with_lists.cp.niter, with_lists.nprobe = 5, PROBES
    scan = faiss.IndexPQFastScan(width, codes, 4, faiss.METRIC_INNER_PRODUCT)
    for index in (with_lists, scan):
        index.train(sample)
        index.add(table[1:])
    return {"faiss_lists_ms": with_lists, "faiss_scan_ms": scan}


def catalogue_bytes(items: int) -> int:
    """Of `catalogue.sqlite` with ids of seven digits, a category of some 300 and a price."""
    contents = CatalogueContents(
        items=[
            CatalogueItem(item_id=f"{10**6 + item}", category=f"CATEGORY {item % 300}", price_minor=item % 2_000 + 1)
            for item in range(items)
        ],
        popularity={EVERYONE: list(range(1, 201))},
        currency="USD",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "catalogue.sqlite")
        write_catalogue(path, contents)
        return path.stat().st_size


def overlap(run: Callable[..., Mapping[str, np.ndarray]], stored: StoredCodes, queries: Array) -> float:
    """Share of an exhaustive scan's ten best that the search finds, without a history."""
    values = stored.values()[1:]
    nothing = {"history": np.zeros((1, LENGTH), np.int32), "own": np.zeros((1, LENGTH), np.float32)}
    found = 0
    for query in queries[:OVERLAP_QUERIES]:
        scores = values @ query
        best = 1 + np.argpartition(-scores, TOP)[:TOP]
        found += len(np.intersect1d(best, run(query=query[None], **nothing)["items"][0, :TOP]))
    return found / (TOP * len(queries[:OVERLAP_QUERIES]))


def measure(items: int, real: Array, books: Array, weights: Array, queries: Array, seed: int) -> dict:
    table = catalogue_of(items, real, weights, seed)
    stored, width = code_table(table, list_length(items), books, weights), table.shape[1]
    rng, codes = np.random.default_rng(seed), FrozenCodes(stored, "shipped")
    dense = shipped_model(FrozenTable(store(table, "int8"), "shipped"), items, width)
    coded = shipped_model(codes, items, width)
    run_dense, run_coded, run_search = runner(dense), runner(coded), runner(search_graph(codes, width))
    feed = feed_of(items)
    history = {"history": feed["items"], "own": rng.standard_normal((1, LENGTH), dtype=np.float32)}
    indices = faiss_indices(table, len(stored.centres), rng)

    def query(number: int) -> Array:
        return queries[number % len(queries)][None]

    found = medians(
        {
            "dense_ms": lambda number: run_dense(**feed),
            "coded_ms": lambda number: run_coded(**feed),
            "search_ms": lambda number: run_search(query=query(number), **history),
        }
        | {
            name: (lambda number, index=index: index.search(query(number), CANDIDATES))
            for name, index in indices.items()
        }
    )
    return {
        "items": items,
        "real_items": min(items, len(real)),
        "lists": len(stored.centres),
        "slots": stored.slots,
        "speedup": found["dense_ms"] / found["coded_ms"],
        "overlap_at_10": overlap(run_search, stored, queries),
        "dense_mb": len(dense) / 1e6,
        "coded_mb": len(coded) / 1e6,
        "catalogue_mb": catalogue_bytes(items) / 1e6,
        **found,
    }


def crossover(rows: list[dict]) -> int | None:
    """The smallest measured catalogue from which on the search is faster than the dense table."""
    faster = None
    for row in reversed(rows):
        if row["speedup"] <= 1:
            break
        faster = row["items"]
    return faster


def markdown(result: dict) -> str:
    lines = [f"| {' | '.join(name for name, _ in COLUMNS)} |", f"|{' ---: |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(form.format(row[name]) for name, form in COLUMNS)} |" for row in result["rows"]]
    where = result["crossover_items"]
    said = f"from {where:,} items on" if where else "at none of these sizes"
    lines += ["", f"Median of {CALLS} calls on one thread of an {result['host']}. Item codes are faster {said}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a coded table of benchmarks/coded_quality.py")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="folder for catalogue_size.json and catalogue_size.md")
    arguments = parser.parse_args()
    with np.load(arguments.table) as trained:
        real, books, weights = trained["values"][1:], trained["books"], trained["weights"]
        queries = trained["queries"]
    rows = []
    for items in sorted(arguments.sizes):
        rows.append(measure(items, real, books, weights, queries, arguments.seed))
        print(json.dumps(rows[-1]), flush=True)
    result = {"rows": rows, "crossover_items": crossover(rows), "probes": PROBES, "host": host()}
    print(markdown(result), end="")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "catalogue_size.json").write_text(json.dumps(result, indent=2) + "\n")
        (arguments.out / "catalogue_size.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
