"""The whole path on a slice: from a log to phones that moved to the next bundle, cut off by kill -9 on the way."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from export.verify import verify_bundle
from federated.ledger import read_ledger
from pocketrec.pipeline import STEPS
from pocketrec.run_directory import look_into_run

WEEKS, PEOPLE, ITEMS, PHONES = 24, 50, 60, 5
START_S = 1_700_000_400
WEEK_S = 7 * 24 * 3600
PROJECT = f"""
[project]
name = "slice"
currency = "EUR"
[data]
source = "sales.csv"
columns = {{ order = "order", price = "price", category = "aisle", name = "label" }}
[model]
history_length = 16
candidates = 20
width = 16
[teacher]
examples = 400
steps = 8
[compression]
steps = 8
warm_start_steps = 2
warm_start_examples = 100
[fleet]
phones = {PHONES}
"""
FINISH_SECONDS = 300.0


def log() -> pl.DataFrame:
    """People who buy most of what they bought before, once or twice a week."""
    draw = random.Random(11)
    rows = []
    for person in range(PEOPLE):
        habits = draw.sample(range(ITEMS), 6)
        for week in range(WEEKS):
            for visit in range(draw.choice((1, 1, 2))):
                at = START_S + week * WEEK_S + draw.randrange(WEEK_S)
                basket = {*draw.sample(habits, 3), min(draw.randrange(ITEMS), draw.randrange(ITEMS))}
                rows += [
                    (f"p{person}", f"i{item}", at, f"{person}-{week}-{visit}", 1.0 + item / 10, f"aisle {item % 6}")
                    for item in sorted(basket)
                ]
    frame = pl.DataFrame(rows, ["person", "item", "time", "order", "price", "aisle"], orient="row")
    return frame.with_columns(label=pl.concat_str(pl.lit("Product <"), "item", pl.lit(">")))


def demo(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pocketrec", "demo", "--project", "pocketrec.toml", "--json"]
    with (folder / "stderr").open("w") as stderr, (folder / "stdout").open("w") as stdout:
        return subprocess.Popen(command, cwd=folder, stdout=stdout, stderr=stderr, text=True)


def kill_when_there_is(file: str, folder: Path) -> None:
    """kill -9 as soon as a file of the run directory has been written."""
    process = demo(folder)
    give_up = time.monotonic() + FINISH_SECONDS
    while not (folder / "runs" / "slice" / file).exists():
        assert process.poll() is None, (folder / "stderr").read_text()
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while at_work_in(folder):  # its server must end with it
        assert time.monotonic() < give_up
        time.sleep(0.1)


def at_work_in(folder: Path) -> list[str]:
    """Processes whose working directory is a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended
            if (process / "cwd").readlink() == folder:
                found.append(process.name)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the whole path was gone, after it was killed twice."""
    folder = tmp_path_factory.mktemp("slice")
    log().write_csv(folder / "sales.csv")
    (folder / "pocketrec.toml").write_text(PROJECT)
    kill_when_there_is(".train.partial", folder)
    kill_when_there_is(".simulate.partial/server/sync.sqlite", folder)
    assert not (folder / "runs" / "slice" / "simulate").exists()
    process = demo(folder)
    assert process.wait(FINISH_SECONDS) == 0, (folder / "stderr").read_text()
    return folder


def said(folder: Path) -> dict:
    return json.loads((folder / "stdout").read_text())


def test_a_run_that_was_killed_goes_on(folder: Path) -> None:
    told = (folder / "stderr").read_text()
    for step in ("prepare", "train", "compress", "export", "publish"):
        assert f"{step}: nothing changed, reused" in told
    left = {path.name for path in (folder / "runs" / "slice").iterdir()}
    assert not [name for name in left if "partial" in name or "replaced" in name]
    assert {step.name for step in STEPS} <= left


def test_the_report_has_every_key_with_a_measured_value(folder: Path) -> None:
    report = json.loads((folder / "runs" / "slice" / "report.json").read_text())
    assert report == said(folder)
    assert report["data"].keys() >= {"users", "items", "events", "dropped"}
    models = {
        *("popularity", "personal_frequency", "item_knn", "user_knn", "sequence_rules", "frequency_user_knn"),
        *("teacher", "device_float", "model.tflite", "model.onnx"),
    }
    assert report["protocol"] == "next_basket"
    assert report["quality"].keys() == models
    for found in report["quality"].values():
        for estimate in (found["ndcg_at_10"], found["recall_at_10"], found["new_items"]["ndcg_at_10"]):
            assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    for task in ("all_items", "new_items"):
        assert report["comparison"][task]["best_baseline"] in models
        assert report["comparison"][task]["relative_difference"].keys() == {"value", "low", "high"}
    assert report["segmentation"]["method"] == "kmeans"
    assert report["segmentation"]["people"].keys() == report["segments"].keys()
    for segment in report["segments"].values():
        assert segment["quality"].keys() == models if "quality" in segment else segment["note"]
    for file in ("model.tflite", "model.train.tflite", "model.onnx"):
        artifact = report["artifacts"][file]
        assert artifact["bytes"] > 0
        assert 0 < artifact["latency_ms"]["p50"] <= artifact["latency_ms"]["p99"]
    assert report["artifacts"]["model.mlpackage"]["evaluator"].startswith("Core ML reference evaluator")
    compared = {"model.tflite", "model.onnx", "model.mlpackage"}
    assert report["parity"]["fp32"].keys() == report["parity"]["shipped"].keys() == compared
    assert all(each["same_top_10"] >= 0.99 for each in report["parity"]["fp32"].values())
    fleet = report["fleet"]
    assert (fleet["phones"], fleet["lost"], fleet["double_counted"]) == (PHONES, 0, 0)
    assert fleet["events_created"] == fleet["events_on_server"] > 0
    assert fleet["profiles"] == PHONES
    federated = report["federated"]
    assert federated["people_enrolled"] == federated["people_sampled"] == 4
    assert 0 < federated["updates"] <= 4
    assert federated["epsilon"] == pytest.approx(federated["epsilon_prv"], rel=0.02)
    assert isinstance(federated["published"], bool)
    assert [bundle["version"] for bundle in report["bundles"]] == [1, 2]
    assert report["seconds"].keys() == {step.name for step in STEPS}
    assert report["peak_memory_bytes"] > 0


def test_the_page_needs_nothing_else_and_escapes_names(folder: Path) -> None:
    page = (folder / "runs" / "slice" / "report.html").read_text()
    assert "<script" not in page
    assert 'href="http' not in page
    assert "src=" not in page
    assert "Product &lt;" in page
    assert page.count("<svg") >= 7


def test_phones_moved_to_the_next_bundle(folder: Path) -> None:
    run = folder / "runs" / "slice"
    phones = [path for path in (run / "rollout" / "devices").iterdir() if path.name != "till"]
    assert len(phones) == PHONES
    for phone in phones:
        assert verify_bundle(phone / "current").bundle_version == 2


def test_the_ledger_charged_what_was_released_and_nothing_else(folder: Path) -> None:
    entries = read_ledger(look_into_run(folder / "runs" / "slice").ledger)
    assert [entry.people_enrolled for entry in entries] == [4]


def test_a_second_run_reuses_everything(folder: Path) -> None:
    before = said(folder)
    assert demo(folder).wait(FINISH_SECONDS) == 0
    told = (folder / "stderr").read_text().splitlines()
    assert told == [f"{step.name}: nothing changed, reused" for step in STEPS]
    assert said(folder) == before
