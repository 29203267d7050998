"""The command line as people and programs call it."""

import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from compression.search import candidates
from pocketrec.cli import run


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line: (exit code, standard output, standard error)."""

    def say(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return say


@pytest.fixture
def open_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Open a shop of thirty people and thirty items, as the working directory, by the text of its project."""

    def open_shop(project: str) -> Path:
        draw = random.Random(5)
        rows = [
            {"person": f"p{person}", "item": f"s{min(draw.randrange(30), draw.randrange(30))}", "time": time}
            for person in range(30)
            for week in range(24)
            for time in [1_700_000_000 + week * 604_800 + draw.randrange(604_800)] * 3
        ]
        monkeypatch.chdir(tmp_path)
        pl.DataFrame(rows).write_csv("sales.csv")
        (tmp_path / "pocketrec.toml").write_text(project)
        return tmp_path

    return open_shop


@pytest.fixture
def few_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the recipes that a search begins with, all int8, int4 tables and floats: each costs a conversion."""
    monkeypatch.setattr(candidates, "STORED", [*candidates.STORED[: candidates.FEW], candidates.STORED[-1]])
