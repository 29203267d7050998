"""The command line: help that shows an example, one JSON object, one line and the right exit code for bad input."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import polars as pl
import pytest
import typer

from contracts.project import Project
from contracts.project_text import decode_project
from pocketrec import commands
from pocketrec.cli import app

VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
HEAVY = ("torch", "tensorflow", "coremltools", "onnx", "polars", "numpy", "litestar", "flwr", "rich", "tqdm")


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_has_an_example_that_the_parser_takes(name: str) -> None:
    verb: click.Command = VERBS[name]
    assert verb.help is not None
    examples = re.findall(r"^ +pocketrec (.+)$", verb.help.partition("Example:")[2], re.MULTILINE)
    assert examples
    for example in examples:
        called, *arguments = example.split()
        assert called == name
        with verb.make_context(name, arguments):
            pass
    with verb.make_context(name, list(examples[0].split()[1:])) as context:
        shown = verb.get_help(context)
    assert "\\" not in shown  # an escape that was meant for a terminal's markup
    assert "--json" in {option for parameter in verb.params for option in parameter.opts}


def test_there_is_one_file_per_verb() -> None:
    files = {path.stem for path in Path(commands.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == set(VERBS)


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from pocketrec.cli import run; code = run(['--help']); "
        f"print(code, sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "0 []\n"
    assert all(f"  {name} " in done.stdout for name in VERBS)


def test_it_is_a_module_and_a_program_with_exit_codes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pocketrec", "prepare"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "pocketrec: pocketrec.toml does not exist: write one with `pocketrec init` or name it with --project\n"
    )
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log_rows() -> list[dict]:
    draw = random.Random(5)
    return [
        {
            "customer_id": f"c{draw.randrange(20)}",
            "sku": f"s{min(draw.randrange(8), draw.randrange(8))}",
            "date": 1_700_000_000 + draw.randrange(20 * 7 * 24 * 3600),
            "unit_price": draw.choice([0.5, 1.0, 2.5]),
        }
        for _ in range(600)
    ]


def write_log(path: Path, rows: list[dict], **schema: object) -> None:
    pl.DataFrame(rows, schema_overrides=schema or None).write_csv(path)


Say = Callable[..., tuple[int, str, str]]


def test_a_newcomers_way(shop: Path, say: Say) -> None:
    write_log(shop / "sales.csv", log_rows())
    code, out, _ = say("init", "--source", "sales.csv", "--json")
    assert code == 0
    assert json.loads(out)["columns"] == {
        "person": "customer_id",
        "item": "sku",
        "time": "date",
        "price": "unit_price",
    }
    assert "# people left out of everything central" in (shop / "pocketrec.toml").read_text()

    code, out, err = say("prepare", "--json")
    assert code == 0
    first = json.loads(out)
    assert (first["data"]["users"], first["data"]["items"], first["reused"]) == (20, 8, False)
    assert first["data"]["events"] + sum(first["data"]["dropped"].values()) + first["data"]["joined_lines"] == 600
    assert "prepare ..." in err

    code, out, err = say("prepare", "--json")
    assert (code, json.loads(out)) == (0, first | {"reused": True})
    assert err == "prepare: nothing changed, reused\n"

    code, out, _ = say("prepare")
    assert code == 0
    assert re.search(r"^data\.users +20$", out, re.MULTILINE)

    write_log(shop / "sales.csv", log_rows()[1:])
    assert json.loads(say("prepare", "--json")[1])["reused"] is False


def test_init_writes_the_defaults_and_never_over_a_file(shop: Path, say: Say) -> None:
    assert say("init")[0] == 0
    text = (shop / "pocketrec.toml").read_text()
    assert decode_project(text) == Project()
    code, out, err = say("init")
    assert (code, out) == (2, "")
    assert err.startswith("pocketrec: pocketrec.toml exists: edit it")
    assert (shop / "pocketrec.toml").read_text() == text


def changed(change: Callable[[dict], dict]) -> list[dict]:
    return [change(row) for row in log_rows()]


def write_lines(*lines: str) -> Callable[[Path], None]:
    return lambda path: path.write_text("\n".join(lines)) and None


BAD_LOGS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a missing file": (lambda path: None, "sales.csv cannot be read: No such file or directory"),
    "an empty file": (write_lines(""), "sales.csv is empty"),
    "an empty log": (write_lines("customer_id,sku,date,unit_price"), "sales.csv has no rows"),
    "a missing column": (write_lines("customer_id,skuu,date,unit_price", "a,b,1700000000,1"), "did you mean 'skuu'?"),
    "NaN prices": (
        lambda path: write_log(path, changed(lambda row: row | {"unit_price": float("nan")})),
        "column 'unit_price' holds 600 NaN or infinite values, the first in row 1",
    ),
    "text for prices": (
        lambda path: write_log(path, changed(lambda row: row | {"unit_price": "1,50"})),
        "it must hold numbers",
    ),
    "times in the wrong unit": (
        lambda path: write_log(path, changed(lambda row: row | {"date": row["date"] // 60})),
        "is a time in the year 1970, a log's is between 1990 and 2100",
    ),
    "one user": (lambda path: write_log(path, changed(lambda row: row | {"customer_id": "c"})), "one person only"),
    "one item": (lambda path: write_log(path, changed(lambda row: row | {"sku": "s"})), "one item only"),
    "no event that is possible": (
        lambda path: write_log(path, changed(lambda row: row | {"unit_price": -1.0})),
        "no event is left after cleaning (dropped: price_impossible 600)",
    ),
    "a short log": (lambda path: write_log(path, log_rows()[:2]), "items were taken|the log spans"),
}


@pytest.mark.parametrize("name", BAD_LOGS)
def test_bad_logs_get_one_line_and_leave_nothing(shop: Path, say: Say, name: str) -> None:
    write_log(shop / "sales.csv", log_rows())
    assert say("init", "--source", "sales.csv")[0] == 0
    assert say("prepare")[0] == 0
    good = {path: path.read_bytes() for path in (shop / "runs").rglob("*") if path.is_file()}
    (shop / "sales.csv").unlink()
    write, expected = BAD_LOGS[name]
    write(shop / "sales.csv")

    code, out, err = say("prepare", "--json")
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("pocketrec: ")
    assert any(part in last for part in expected.split("|")), last
    assert json.loads(out) == {"error": last.removeprefix("pocketrec: ")}
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in (shop / "runs").rglob("*") if path.is_file()} == good


def test_bad_settings_get_one_line(shop: Path, say: Say) -> None:
    (shop / "pocketrec.toml").write_text("[split]\ntest_weks = 4\n")
    code, out, err = say("prepare")
    assert (code, out) == (2, "")
    assert err == (
        "pocketrec: [split] has no key 'test_weks': did you mean 'test_weeks'? "
        "It has protocol, test_weeks, validation_weeks\n"
    )
    assert not (shop / "runs").exists()


@pytest.mark.parametrize("asked", ['method = "deep_embedded"', 'method = "hierarchical"\ncount = 20'])
def test_segments_that_so_few_people_cannot_fill_get_one_line(shop: Path, say: Say, asked: str) -> None:
    write_log(shop / "sales.csv", log_rows())
    assert say("init", "--source", "sales.csv")[0] == 0
    settings = shop / "pocketrec.toml"
    before, _, after = settings.read_text().partition("[segments]")
    settings.write_text(f"{before}[segments]\n{asked}\n[model]{after.partition('[model]')[2]}")
    code, _, err = say("prepare")
    assert code == 2
    assert err.splitlines()[-1].startswith("pocketrec: [segments] method = ")
    assert not list((shop / "runs").glob("*/prepare"))


@pytest.mark.parametrize("arguments", [["prepar"], ["prepare", "--jsno"], ["prepare", "--run"], ["prepare", "extra"]])
def test_usage_errors_get_one_line(say: Say, arguments: list[str]) -> None:
    code, out, err = say(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_a_catalogue_without_categories_works(shop: Path, say: Say) -> None:
    write_log(shop / "sales.csv", log_rows())
    say("init", "--source", "sales.csv")
    assert say("prepare")[0] == 0
    items = pl.read_parquet(shop / "runs" / "pocketrec" / "prepare" / "items.parquet")
    assert items["category"].unique().to_list() == ["unknown"]
