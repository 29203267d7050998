"""A project under [privacy] from end to end: charged, private, and distilled without a look at the data."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from federated.ledger import read_ledger
from pocketrec.cli import run

PROJECT = """
[data]
source = "sales.csv"
[data.columns]
person = "person"
item = "item"
time = "time"
[clean]
minimum_people = 2
[split]
test_weeks = 3
validation_weeks = 3
[model]
history_length = 8
candidates = 10
width = 16
[fleet]
phones = 5
[teacher]
examples = 400
[privacy]
training = "private"
epsilon = 8.0
delta = 1e-4
steps = 3
[compression]
steps = 6
"""
PEOPLE, PHONES = 250, 5
DISTIL = """
import sys
from pathlib import Path

train, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
run = train.parent
import tensorflow, torch, numpy  # whatever they open to start is no business of ours
from compression.compress import CompressSettings
from compression.distillation import DistillationRecipe
from compression.private import distil_drawn

def refuse(event, arguments):
    if event != "open" or not isinstance(arguments[0], (str, bytes)):
        return
    opened = Path(arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]).resolve()
    if opened.is_relative_to(run.parent) and not opened.is_relative_to(out) and not opened.is_relative_to(train):
        raise PermissionError(f"{opened} is not for distillation")
    if opened.suffix in (".parquet", ".csv"):
        raise PermissionError(f"{opened} holds data")

sys.addaudithook(refuse)
for probe in sys.argv[3:]:
    try:
        open(probe, "rb")
    except PermissionError:
        continue
    raise SystemExit(f"{probe} could be opened")
settings = CompressSettings(history_length=8, candidates=10, width=16, recipe=DistillationRecipe(steps=6))
print(distil_drawn(train, out, settings, 7, lambda *_: None))
"""

Say = Callable[..., tuple[int, dict]]


def sales(people: int = PEOPLE) -> pl.DataFrame:
    draw, rows = random.Random(5), []
    for person in range(people):
        favourites = [draw.randrange(40) for _ in range(4)]
        for week in range(20):
            if draw.random() < 0.5:
                time = 1_700_000_000 + week * 604_800 + draw.randrange(604_800)
                for _ in range(2):
                    item = draw.choice(favourites) if draw.random() < 0.7 else draw.randrange(40)
                    rows.append({"person": f"p{person}", "item": f"s{item}", "time": time})
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was trained and compressed privately in runs/shop."""
    folder = tmp_path_factory.mktemp("private")
    (folder / "pocketrec.toml").write_text(PROJECT)
    sales().write_csv(folder / "sales.csv")
    arguments = ["--project", str(folder / "pocketrec.toml"), "--run", str(folder / "runs" / "shop")]
    assert run(["compress", *arguments]) == 0
    return folder


@pytest.fixture
def shop(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def say(*arguments: str) -> tuple[int, dict]:
        capsys.readouterr()
        code = run([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return say


def test_every_release_is_charged_and_stated(shop: Path, say: Say) -> None:
    entries = read_ledger(shop / "runs" / "shop" / "privacy" / "training.jsonl")
    assert [entry.round_id for entry in entries] == ["train: popularity", "train: pairs", "train: steps"]
    assert {entry.people_enrolled for entry in entries} == {PEOPLE - PHONES}
    code, said = say("privacy", "--run", "runs/shop")
    assert code == 0
    assert 7.5 < said["training"]["epsilon"] <= 8.0
    assert said["training"]["epsilon_prv"] == pytest.approx(said["training"]["epsilon"], rel=0.02)
    assert said["epsilon"] == 0.0  # of rounds
    assert "add/remove one person" in said["base_model"]
    assert str(PEOPLE - PHONES) in said["base_model"]
    assert "outside the guarantee" in said["statistics"]


def test_the_same_again_costs_nothing(shop: Path, say: Say) -> None:
    code, said = say("train", "--run", "runs/shop")
    assert (code, said["reused"]) == (0, True)
    assert len(read_ledger(shop / "runs" / "shop" / "privacy" / "training.jsonl")) == 3


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("steps = 3", "steps = 4", "is spent"),
        ("epsilon = 8.0", "epsilon = 0.0001", "is spent"),
        ("delta = 1e-4", "delta = 0.01", "below one in all"),
        ("epsilon = 8.0", "epsilon = 0", "above 0"),
    ],
)
def test_what_cannot_be_met_is_one_line_and_charges_nothing(shop: Path, say: Say, old: str, new: str, says: str):
    file = shop / "pocketrec.toml"
    file.write_text(file.read_text().replace(old, new, 1))
    code, said = say("train", "--run", "runs/shop")
    assert code == 2
    assert says in said["error"]
    assert "\n" not in said["error"]
    assert len(read_ledger(shop / "runs" / "shop" / "privacy" / "training.jsonl")) == 3


def test_too_few_people_are_refused(shop: Path, say: Say) -> None:
    sales(people=190).write_csv("sales.csv")
    code, said = say("train", "--run", "runs/few")
    assert code == 2
    assert "185 people" in said["error"]
    assert "at least 200" in said["error"]
    assert not (shop / "runs" / "few" / "train").exists()


def test_a_private_run_does_not_go_on_from_another(shop: Path, say: Say) -> None:
    code, said = say("train", "--from", "runs/shop", "--run", "runs/next")
    assert code == 2
    assert "no teacher to go on from" in said["error"]


def test_distillation_opens_no_data(shop: Path, tmp_path: Path) -> None:
    """In a process in which opening the log, or anything of the run but the private training, fails."""
    out = tmp_path / "out"
    out.mkdir()
    train = shop / "runs" / "shop" / "train"
    forbidden = [shop / "sales.csv", *sorted((shop / "runs" / "shop" / "prepare").glob("*"))]
    done = subprocess.run(
        [sys.executable, "-c", DISTIL, str(train), str(out), *map(str, forbidden)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shipped = json.loads((shop / "runs" / "shop" / "compress" / "device_model.json").read_bytes())
    assert done.stdout.strip() == shipped["model_version"]  # the very model that the step ships
