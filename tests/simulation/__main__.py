"""`python -m tests.simulation SEED`: replay one run and print what happened; with --count, many runs in silence."""

import argparse
import gc
import json
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.simulation import mutants
from tests.simulation.course import Beginning, Course
from tests.simulation.kept import keep_for_all_runs

MEMORY = Path("/dev/shm")  # syncing costs nothing there, and what it would keep is decided by `disk.py`


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, help="of the first run")
    parser.add_argument("--count", type=int, help="of runs, without a trace")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after so long")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="a fault to be put into the server")
    options = parser.parse_args()
    keep_for_all_runs()
    if options.mutant:
        mutants.MUTANTS[options.mutant]()
    seeds = range(options.seed, options.seed + (options.count or 1))
    end = time.monotonic() + options.seconds
    done = 0
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        beginning = Beginning.make(Path(folder))
        gc.freeze()
        gc.disable()  # else it looks through a million objects that stay, again and again
        for seed in seeds:
            if time.monotonic() > end:
                break
            with tempfile.TemporaryDirectory(dir=folder) as own:
                course = Course(seed, beginning, Path(own), None if options.count else print)
                try:
                    course.play()
                except Exception:
                    traceback.print_exc()
                    mutant = f" --mutant {options.mutant}" if options.mutant else ""
                    print(f"seed {seed} fails: replay it with python -m tests.simulation {seed}{mutant}", flush=True)
                    return 1
            gc.collect(0)  # what a run leaves
            done += 1
            tally += course.tally
    if options.count:
        print(json.dumps({"seeds": done, **tally}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
