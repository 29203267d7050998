"""What each way to find segments finds in a prepared log: how many, how far apart, and how stable.

    pocketrec prepare --run runs/demo
    python benchmarks/segments.py runs/demo/prepare --out results/

Silhouette and Davies-Bouldin are those of the segments as they are served (nearest centre), over the standardised
features, for every method alike; `agreement` is the share of people whom the nearest centre gives the segment that the
method itself gave them; `stability` the adjusted Rand index between the segments of one seed and the next.
"""

import argparse
import json
import time
from pathlib import Path

import msgspec
import numpy as np
from sklearn.metrics import adjusted_rand_score

from contracts.project import Segmentation
from contracts.segments import METHODS, Method
from training.prepared import Prepared, load_prepared
from training.segments import apply_definition, fit_definition

SEEDS = (7, 8, 9)
COLUMNS = ("method", "segments", "silhouette", "Davies-Bouldin", "agreement", "stability", "seconds", "names")


def measure(prepared: Prepared, method: Method, seeds: tuple[int, ...] = SEEDS) -> dict:
    """Figures of one method; all but the stability are the first seed's."""
    definitions, seconds, people = [], [], []
    central = ~prepared.is_phone
    for seed in seeds:
        started = time.perf_counter()
        definitions.append(fit_definition(prepared, Segmentation(method=method), seed))
        seconds.append(time.perf_counter() - started)
        people.append(apply_definition(definitions[-1], prepared).person[central])
    first = definitions[0]
    return {
        "method": method,
        "segments": [len(each.names) for each in definitions],
        "silhouette": first.silhouette,
        "davies_bouldin": first.davies_bouldin,
        "agreement": first.agreement,
        "stability": float(np.mean([adjusted_rand_score(one, people[0]) for one in people[1:]])),
        "seconds": float(np.median(seconds)),
        "people": dict(zip(first.names, first.people, strict=True)),
        "considered": msgspec.to_builtins(first.considered),
        "seeds": list(seeds),
    }


def markdown(rows: list[dict]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for row in rows:
        people = ", ".join(f"{name} ({number:,})" for name, number in row["people"].items())
        cells = [row["method"], ", ".join(map(str, row["segments"]))]
        cells += [f"{row[key]:.3f}" for key in ("silhouette", "davies_bouldin", "agreement", "stability")]
        cells += [f"{row['seconds']:.1f}", people]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="folder that `pocketrec prepare` made")
    parser.add_argument("--out", type=Path, help="folder for segments.json and segments.md")
    arguments = parser.parse_args()
    prepared = load_prepared(arguments.prepared)
    rows = [measure(prepared, method) for method in METHODS]
    print(markdown(rows), end="")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "segments.json").write_text(json.dumps(rows, indent=2) + "\n")
        (arguments.out / "segments.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
