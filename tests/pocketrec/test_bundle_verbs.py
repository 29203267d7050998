"""`verify`, `publish`, `serve` and `privacy` on bundles, a repository, a server and a ledger as they are on disk."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from contracts.bundle import GOLDENS, ONNX, TFLITE, GoldenAnswer, GoldenHistory, Goldens
from contracts.codec import encode
from contracts.privacy import Charge
from device_sim.pinning import pinned
from export.keys import create_keys, sign_manifest
from export.verify import SIGNATURE
from federated.ledger import Budget, Ledger
from pocketrec.cli import run
from pocketrec.run_directory import open_run

Say = Callable[..., tuple[int, dict]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a verb with --json in a folder with a project: exit code and the one object on standard output."""
    monkeypatch.chdir(tmp_path)
    Path("pocketrec.toml").write_text("")

    def say(*arguments: str) -> tuple[int, dict]:
        code = run([*arguments, "--json"])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        said = json.loads(captured.out)
        if code:
            assert captured.err.splitlines()[-1] == f"pocketrec: {said['error']}"
        return code, said

    return say


@pytest.fixture
def bundle(tmp_path: Path, write_bundle: Callable) -> Path:
    """A signed bundle where a run keeps it; its model is a few bytes and no model."""
    with open_run(tmp_path / "runs" / "pocketrec") as directory:
        history = GoldenHistory(name="one item", items=(1,), events=(9,), counts=(1.0,), ages=(2.0,), context=())
        goldens = Goldens(
            histories=(history,), answers={TFLITE: (GoldenAnswer(items=(1,), scores=(0.5,)),)}, tolerance=1e-3
        )
        write_bundle(directory.bundle, version=2, files={GOLDENS: encode(goldens)})
        create_keys(directory.keys)
        sign_manifest(directory.bundle, directory.keys)
        return directory.bundle


def flip_a_byte(bundle: Path) -> None:
    path = bundle / ONNX
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def forget_the_signature(bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()


def sign_with_other_keys(bundle: Path) -> None:
    create_keys(bundle.parent / "other")
    sign_manifest(bundle, bundle.parent / "other")


@pytest.mark.parametrize(
    ("harm", "options", "expected"),
    [
        (flip_a_byte, (), f"{ONNX} has sha256"),
        (forget_the_signature, (), "unsigned"),
        (sign_with_other_keys, (), "does not fit"),
        (lambda bundle: None, ("--held", "3"), "bundle has version 2, version 3 is held"),
        (lambda bundle: None, (), f"{TFLITE} cannot be loaded"),
    ],
)
def test_a_bundle_that_no_phone_would_take_gets_its_line(
    say: Say, bundle: Path, harm: Callable[[Path], None], options: tuple[str, ...], expected: str
) -> None:
    harm(bundle)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    code, said = say("verify", *options)
    assert code == 2
    assert expected in said["error"]
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_without_a_run_a_bundle_cannot_be_found(say: Say) -> None:
    code, said = say("verify")
    assert code == 2
    assert said["error"].startswith("runs/pocketrec is no run directory")
    assert not Path("runs").exists()


def test_a_folder_that_is_no_bundle_is_told_apart_from_an_unsigned_one(say: Say, bundle: Path) -> None:
    code, said = say("verify", "runs")
    assert (code, said["error"]) == (2, "runs holds no manifest.json: give the directory of a bundle")


def test_publishing_takes_newer_bundles_only(say: Say, bundle: Path, tmp_path: Path, write_bundle: Callable) -> None:
    code, first = say("publish")
    assert code == 0
    assert (first["version"], first["patch_bytes"]) == (2, None)
    assert first["bytes"] > 0
    code, said = say("publish")
    assert code == 2
    assert "version 2 is published" in said["error"]
    write_bundle(tmp_path / "next", version=3)
    code, second = say("publish", "next")
    assert (code, second["version"]) == (0, 3)


@pytest.mark.parametrize("tls", ["auto", "self-signed"])
def test_the_server_says_where_it_is_and_serves_what_was_published(
    say: Say, bundle: Path, tmp_path: Path, tls: str
) -> None:
    assert say("publish")[0] == 0
    Path("pocketrec.toml").write_text(f'[server]\ntls = "{tls}"\n')
    command = [sys.executable, "-m", "pocketrec", "serve", "--port", "0", "--workers", "2", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = json.loads(server.stdout.readline())
            trusted = pinned(said["url"], said["certificate_sha256"]) if tls == "self-signed" else True
            root = httpx.get(f"{said['url']}/repository/metadata/1.root.json", verify=trusted)
            assert root.content == (tmp_path / "runs/pocketrec/repository/metadata/1.root.json").read_bytes()
            server.send_signal(signal.SIGTERM)
            assert server.stdout.read() == ""
        finally:
            server.terminate()
    assert server.returncode == 0
    secrets = tmp_path / "runs/pocketrec/secrets"
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o600}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_cannot_start_says_why_in_a_line(say: Say, bundle: Path, workers: str) -> None:
    journal = Path("erasures.jsonl")
    journal.write_text("no line of a journal\n")
    Path("pocketrec.toml").write_text('[server]\nerasure_journal = "erasures.jsonl"\n')
    code, said = say("serve", "--port", "0", "--workers", workers)
    assert code == 2
    assert "erasures.jsonl, line 1 is damaged" in said["error"]
    assert journal.read_text() == "no line of a journal\n"


def test_the_epsilon_of_a_ledger_is_stated_by_two_accountants(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        for number in range(2):
            ledger.charge(
                f"round-{number}",
                Charge(sampling_rate=0.5, noise_multiplier=2.0),
                clipping_norm=1.0,
                people_enrolled=20,
                budget=Budget(epsilon=10.0, delta=1e-5),
            )
        expected = ledger.epsilon(1e-5)
    code, said = say("privacy", "--ledger", str(path))
    assert code == 0
    assert (said["epsilon"], said["delta"], said["charges"], said["people_enrolled"]) == (expected, 1e-5, 2, 20)
    assert said["epsilon_prv"] == pytest.approx(expected, rel=0.02)
    assert said["base_model"]
    assert say("privacy", "--ledger", str(path), "--delta", "1e-3")[1]["epsilon"] < expected

    path.write_bytes(path.read_bytes().replace(b"round-0", b"round-9"))
    code, said = say("privacy", "--ledger", str(path))
    assert code == 1
    assert "is not what was written" in said["error"]


def test_without_a_ledger_no_epsilon_is_claimed(say: Say, bundle: Path) -> None:
    code, said = say("privacy")
    assert code == 2
    assert "no round has been charged here" in said["error"]
