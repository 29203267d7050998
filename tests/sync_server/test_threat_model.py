"""The threat model names only modules and tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs/threat-model.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("|")]
PROMISES = [row for row in ROWS if row[2] not in ("by", "---")]


def named(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_promise_is_kept_by_a_module_that_is_there():
    modules = set().union(*(named(row[2]) for row in PROMISES))
    assert len(modules) > 10
    places = (ROOT, ROOT / "sync_server")
    assert {name for name in modules if not any((place / f"{name}.py").exists() for place in places)} == set()


def test_every_promise_names_a_test_that_is_there():
    tests = set().union(*(named(row[3]) for row in PROMISES))
    assert len(tests) > 10
    places = (ROOT, ROOT / "tests/sync_server")
    assert {name for name in tests if not any((place / name).exists() for place in places)} == set()
    unheld = [row[0] for row in PROMISES if not named(row[3])]
    assert unheld == ["invent purchases on a card it has seen", "write into the store"]
