"""How well a device model recommends items that were first sold after it was trained, from their attributes alone.

    pocketrec demo --run runs/demo
    python benchmarks/cold_items.py runs/demo --out results/

The catalogue grows: the log is prepared once more with a later cut, and items that nobody
had before the test weeks join those the model knows (`compression.grown_catalogue`). Asked are the test baskets, but
for the last week's, that hold such an item which their person has not had yet; all before the basket is the history.

Three questions: among the new items only, NDCG@10 and recall@10; and among all items that the person has not had, the
share that stands above a wanted new one (0 is best, chance is 0.5). Means over people with 95 % bootstrap intervals.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import scipy.sparse as sp
import tensorflow as tf
from numpy.typing import NDArray

from compression.checkpoint import load_device_model
from compression.device_model import DeviceModel
from compression.grown_catalogue import POPULARITY, grown_model
from contracts.bundle import Estimate
from contracts.project import Project
from training.baselines.popularity import purchase_counts
from training.cases import TEST, Cases, next_basket_cases, target_matrix
from training.cold_items import fit_effects, item_attributes, match_items
from training.context import context_of
from training.evaluation import BATCH, by_person, compare_all, estimate, evaluate
from training.histories import Histories, histories_of
from training.prepare import prepare
from training.prepared import Events, Items, Prepared, load_prepared
from training.pseudonym import key_from_seed
from training.segments import Segments, fit_segments

SEED = 7  # of the demo, of intervals and of what is decided by lot
NOT_ASKED = -np.inf
Score = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def later_catalogue(before: Prepared, folder: Path) -> Prepared:
    """The demo's log with every item that anybody had before its last week."""
    demo = Project()
    project = msgspec.structs.replace(
        demo,
        clean=msgspec.structs.replace(demo.clean, minimum_people=1),
        split=msgspec.structs.replace(demo.split, test_weeks=1),
    )
    later = prepare(project, folder, key_from_seed(project.project.seed))
    if later.record.data_sha256 != before.record.data_sha256:
        raise SystemExit("the run is not of the demo's data: name one of `pocketrec demo`")
    return later


def grow(before: Prepared, later: Prepared, begin_ms: int, end_ms: int) -> tuple[Prepared, NDArray[np.int64]]:
    """The log over items that the model knew before some weeks and, after them, those that nobody had before these.

    Args:
        before: the log with the model's catalogue.
        later: with everything.
        begin_ms, end_ms: the weeks, which become the test weeks of the result; what comes later is left out.

    Returns:
        The log, its people those of the later one and its phones those of the earlier; and each item's index in the
        model's catalogue, 0 for the new ones.
    """
    log, size = later.events, len(later.items.item_id)
    first = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first, log.item, log.time_ms)
    index = match_items(before.items.item_id, later.items.item_id)
    had = np.zeros(len(before.items.item_id), bool)
    had[index[first < begin_ms]] = True
    had[0] = True  # padding
    old = np.flatnonzero(had)
    new = np.flatnonzero((first >= begin_ms) & (first < end_ms)).tolist()
    new.sort(key=lambda item: later.items.item_id[item])  # their order in the catalogue would tell how popular they get
    number = np.where(had, np.cumsum(had) - 1, 0)[index]
    number[new] = len(old) + np.arange(len(new))
    kept = np.flatnonzero((number[log.item] > 0) & (log.time_ms < end_ms))
    kept = kept[np.lexsort((number[log.item[kept]], log.basket[kept]))]
    columns = {name: value[kept] for name, value in vars(log).items() if value is not None}
    columns["item"] = number[columns["item"]].astype(np.int32)
    columns["basket"] = np.unique(columns["basket"], return_inverse=True)[1].astype(np.int32)
    joined = {
        name: [
            *(getattr(before.items, name)[item] for item in old),
            *(getattr(later.items, name)[item] for item in new),
        ]
        for name in ("item_id", "category", "department", "brand", "name")
    }
    items = Items(
        **joined,
        price_minor=np.concatenate([before.items.price_minor[old], later.items.price_minor[new]]),
        people=np.concatenate([before.items.people[old], np.zeros(len(new), np.int32)]),
    )
    phones = {name for name, phone in zip(before.pseudonym, before.is_phone, strict=True) if phone}
    grown = Prepared(
        events=Events(**columns),
        items=items,
        pseudonym=later.pseudonym,
        is_phone=np.array([name in phones for name in later.pseudonym]),
        record=msgspec.structs.replace(
            before.record,
            train_end_ms=min(before.record.train_end_ms, begin_ms),
            validation_end_ms=begin_ms,
            end_ms=end_ms,
        ),
    )
    return grown, np.concatenate([old, np.zeros(len(new), np.int64)])


@dataclass(frozen=True)
class Task:
    """Baskets with a new item that their person lacks."""

    grown: Prepared
    known: NDArray[np.int64]  # [items + 1]
    cases: Cases  # whose targets are such items only
    histories: Histories

    @property
    def new(self) -> NDArray[np.int64]:
        """The new items."""
        return np.flatnonzero(self.known == 0)[1:]


def make_task(before: Prepared, grown: Prepared, known: NDArray[np.int64], length: int) -> Task:
    cases = next_basket_cases(grown, TEST)
    wanted = target_matrix(grown, cases.baskets).multiply((known == 0)[None]).tocsr()
    wanted = (wanted - wanted.multiply(cases.weights > 0)).tocsr()
    wanted.eliminate_zeros()
    rows = np.flatnonzero(wanted.getnnz(axis=1))
    some = replace(
        cases,
        baskets=cases.baskets[rows],
        person=cases.person[rows],
        weights=cases.weights[rows],
        targets=wanted[rows],
        information=None,
    )
    segments = fit_segments(before, SEED)
    of = dict(zip(before.pseudonym, segments.person.tolist(), strict=True))
    carried = Segments(segments.names, np.array([of.get(name, 0) for name in grown.pseudonym], np.int32))
    context = context_of(grown, some.baskets, carried)
    return Task(grown, known, some, histories_of(grown, some.baskets, length, context))


def model_scores(model: DeviceModel, task: Task, rows_of_new: NDArray[np.float32] | None = None) -> Score:
    """What the model's catalogue scores; with other rows for new items, histories are still read with its own."""
    values = model.table.frozen().values()
    if rows_of_new is not None:
        values[task.new] = rows_of_new
    encode = tf.function(model.encode, reduce_retracing=True)

    def score(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        query, _, _ = encode(*(tf.constant(value) for value in vars(task.histories[rows]).values()))
        return query.numpy() @ values.T

    return score


def methods(model: DeviceModel, task: Task) -> dict[str, Score]:
    """Every way to rank, by its name; what ties is decided by lot."""
    items, new = task.grown.items, task.new
    lot = np.random.default_rng(SEED).random(len(task.known)).astype(np.float32)
    values = model.table.frozen().values()
    old = np.flatnonzero(task.known)
    attributes = item_attributes(items)

    def rows_from(chosen: Sequence[int], unforeseen: Sequence[int] = (POPULARITY,)) -> NDArray[np.float32]:
        of_old, of_new = (
            [[attributes[at][item] for item in part] for at in chosen] for part in (old.tolist(), new.tolist())
        )
        fitted = fit_effects(values[old], of_old)
        fitted.effects[:, list(unforeseen)] = 0.0
        return fitted.rows(of_new)

    category = np.unique(np.array(items.category), return_inverse=True)[1]
    member = sp.csr_matrix((np.ones(len(category)), (np.arange(len(category)), category)))
    sold = np.bincount(category, purchase_counts(task.grown))[category]
    popular = (np.log1p(sold) + 1e-3 * lot).astype(np.float32)

    def by_own_categories(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        own = np.asarray((task.cases.weights[rows] @ member).todense())[:, category]
        return (own + 1e-3 * popular).astype(np.float32)

    def constant(scores: NDArray[np.float32]) -> Score:
        return lambda rows: np.tile(scores, (len(rows), 1))

    def drawn(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.random.default_rng([SEED, int(rows[0])]).random((len(rows), len(lot)), np.float32)

    mean = np.tile(values[old].mean(0), (len(new), 1)).astype(np.float32)
    likeness = model_scores(model, task, mean)
    return {
        "attributes": model_scores(model, task),
        "attributes without names": model_scores(model, task, rows_from([0, 1, 2, 3, 4])),
        "attributes without prices": model_scores(model, task, rows_from([0, 1, 2, 4, 5])),
        "category alone": model_scores(model, task, rows_from([0])),
        "attributes with popularity": model_scores(model, task, rows_from(range(len(attributes)), ())),
        "mean vector": lambda rows: likeness(rows) + 1e-4 * lot,
        "own categories": by_own_categories,
        "most popular category": constant(popular),
        "random": drawn,
    }


def shares_above(score: Score, task: Task) -> NDArray[np.float64]:
    """float64 [cases]: mean over a case's targets of the share of items not had yet that stand above it."""
    found = np.zeros(len(task.cases))
    for first in range(0, len(task.cases), BATCH):
        rows = np.arange(first, min(first + BATCH, len(task.cases)))
        scores = score(rows)
        for at, row in enumerate(rows):
            targets = task.cases.targets[row].indices
            left = np.ones(scores.shape[1], bool)
            left[0] = False
            left[task.cases.weights[row].indices] = False
            others = scores[at, left]
            above = [(others > one).sum() + 0.5 * ((others == one).sum() - 1) for one in scores[at, targets]]
            found[row] = np.mean(above) / max(len(others) - 1, 1)
    return found


def measure(score: Score, task: Task) -> dict[str, NDArray[np.float64]]:
    """Each figure of every person, NaN for people who were not asked."""
    old = np.flatnonzero(task.known)
    people = len(task.grown.pseudonym)

    def among_new(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = score(rows).copy()
        scores[:, old] = NOT_ASKED
        return scores

    found = evaluate(among_new, task.cases, people).new_items
    above = by_person(shares_above(score, task), task.cases.person, people)
    return {"ndcg_at_10": found.ndcg, "recall_at_10": found.recall, "share_above": above}


def compared(found: dict[str, dict[str, NDArray[np.float64]]]) -> list[dict]:
    """Each method's figures, and how its NDCG differs from the first method's, paired over people."""
    first = next(iter(found))
    rows = []
    for name, figures in found.items():
        row: dict = {"method": name} | {key: _told(estimate(values, SEED)) for key, values in figures.items()}
        if name != first:
            pair = {each: found[each]["ndcg_at_10"] for each in (first, name)}
            (difference,) = compare_all(pair, SEED)
            row["first_minus_this"] = _told(difference.difference) | {"p_value": difference.p_value}
        rows.append(row)
    return rows


def _told(found: Estimate) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def markdown(result: dict) -> str:
    lines = [
        f"{result['new_items']:,} items first sold in the {result['weeks']} weeks beside {result['known_items']:,} "
        f"known ones; {result['baskets']:,} baskets of {result['people']:,} people.",
        "",
        "| new items by | NDCG@10 among new | recall@10 among new | share of all items above | NDCG@10 less than by "
        "attributes, p |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        cells = [
            "{value:.4f} [{low:.4f}, {high:.4f}]".format(**row[key])
            for key in ("ndcg_at_10", "recall_at_10", "share_above")
        ]
        if "first_minus_this" in row:
            cells.append("{value:.4f} [{low:.4f}, {high:.4f}], {p_value:.3f}".format(**row["first_minus_this"]))
        else:
            cells.append("")
        lines.append(f"| {' | '.join([row['method'], *cells])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of a run of `pocketrec demo`")
    parser.add_argument("--validation", action="store_true", help="items of the validation weeks, to choose by")
    parser.add_argument("--out", type=Path, help="folder for cold_items.json and cold_items.md")
    arguments = parser.parse_args()
    before = load_prepared(arguments.run / "prepare")
    with tempfile.TemporaryDirectory(prefix="pocketrec-cold-items-") as folder:
        later, record = later_catalogue(before, Path(folder)), before.record
        weeks = (record.validation_end_ms, later.record.validation_end_ms)
        if arguments.validation:
            weeks = (record.train_end_ms, record.validation_end_ms)
        grown, known = grow(before, later, *weeks)
    model = load_device_model(arguments.run / "compress")
    task = make_task(before, grown, known, model.spec.history_length)
    over = grown_model(model, known, grown.items)
    result = {
        "known_items": int((known > 0).sum()),
        "new_items": len(task.new),
        "baskets": len(task.cases),
        "people": len(np.unique(task.cases.person)),
        "weeks": "validation" if arguments.validation else "test",
        "seed": SEED,
        "rows": compared({name: measure(score, task) for name, score in methods(over, task).items()}),
    }
    print(markdown(result), end="")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "cold_items.json").write_text(json.dumps(result, indent=2) + "\n")
        (arguments.out / "cold_items.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
