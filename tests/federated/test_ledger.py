"""The ledger is charged before, durably, in a chain that shows every change."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import ConfigError, PrivacyError
from contracts.privacy import Charge
from federated.ledger import GENESIS, Budget, Ledger, ledger_epsilon, read_ledger

CHARGE = Charge(sampling_rate=0.1, noise_multiplier=2.0)
BUDGET = Budget(epsilon=10.0, delta=1e-5)


def charged(path: Path, lines: int) -> Path:
    with Ledger(path) as ledger:
        for number in range(lines):
            ledger.charge(f"round-{number}", CHARGE, clipping_norm=1.0, people_enrolled=25, budget=BUDGET)
    return path


def test_a_charge_is_on_disk_when_it_returns(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        entry = ledger.charge("round-a", CHARGE, clipping_norm=0.5, people_enrolled=25, budget=BUDGET)
        assert read_ledger(path) == (entry,)
    assert entry.previous == GENESIS
    assert (entry.round_id, entry.charge, entry.clipping_norm, entry.people_enrolled) == ("round-a", CHARGE, 0.5, 25)
    with Ledger(path) as ledger:
        assert ledger.head == entry.hash
        assert ledger.epsilon(1e-5) == ledger_epsilon([entry], 1e-5) > 0


def test_an_unused_ledger_costs_nothing(tmp_path):
    assert read_ledger(tmp_path / "none.jsonl") == ()
    with Ledger(tmp_path / "folder" / "new.jsonl") as ledger:
        assert (ledger.head, ledger.epsilon(1e-5)) == (GENESIS, 0.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> bytes:
    return charged(tmp_path_factory.mktemp("ledger") / "ledger.jsonl", 3).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_a_changed_byte_is_detected(tmp_path, written, place, mask):
    place %= len(written) - 1  # the last line end belongs to the next test
    changed = bytearray(written)
    changed[place] ^= mask
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(changed)
    with pytest.raises(PrivacyError, match="not what was written"):
        read_ledger(path)
    with pytest.raises(PrivacyError, match="not what was written"):
        Ledger(path)


@pytest.mark.parametrize("order", [(1, 2), (0, 2), (1, 0, 2), (0, 1, 1, 2), (0, 2, 1)])
def test_removed_repeated_and_reordered_lines_are_detected(tmp_path, written, order):
    lines = written.splitlines(keepends=True)
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"".join(lines[number] for number in order))
    with pytest.raises(PrivacyError, match="not what was written"):
        read_ledger(path)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_lines_cut_off_at_the_end_are_detected_by_whoever_saw_them(tmp_path, written, kept):
    lines = written.splitlines(keepends=True)
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(written)
    with Ledger(path) as ledger:
        seen = len(ledger.entries), ledger.head
        ledger.require(*seen)
        ledger.require(0, GENESIS)
    path.write_bytes(b"".join(lines[:kept]))
    with Ledger(path) as ledger, pytest.raises(PrivacyError, match="behind"):
        ledger.require(*seen)


def test_another_ledger_of_the_same_length_is_detected(tmp_path, written):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(written)
    with Ledger(path) as ledger:
        seen = len(ledger.entries), ledger.head
    with Ledger(charged(tmp_path / "other.jsonl", 3)) as other, pytest.raises(PrivacyError, match="another one"):
        other.require(*seen)


def test_a_line_torn_by_a_crash_does_not_count_and_does_not_block(tmp_path, written):
    path = tmp_path / "ledger.jsonl"
    lines = written.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-20])
    assert len(read_ledger(path)) == 1
    with Ledger(path) as ledger:
        ledger.charge("again", CHARGE, clipping_norm=1.0, people_enrolled=25, budget=BUDGET)
    assert [entry.round_id for entry in read_ledger(path)] == ["round-0", "again"]


def test_a_charge_over_the_budget_is_refused_and_leaves_no_line(tmp_path):
    path = charged(tmp_path / "ledger.jsonl", 1)
    before = path.read_bytes()
    spent = ledger_epsilon(read_ledger(path), 1e-5)
    tight = Budget(epsilon=spent * 1.0001, delta=1e-5)
    with Ledger(path) as ledger, pytest.raises(PrivacyError, match="budget"):
        ledger.charge("over", CHARGE, clipping_norm=1.0, people_enrolled=25, budget=tight)
    assert path.read_bytes() == before


def test_a_charge_that_cannot_be_bounded_leaves_no_line(tmp_path):
    path = tmp_path / "ledger.jsonl"
    weak = Charge(sampling_rate=0.1, noise_multiplier=0.0)
    with Ledger(path) as ledger, pytest.raises(ConfigError):
        ledger.charge("weak", weak, clipping_norm=1.0, people_enrolled=25, budget=BUDGET)
    assert path.read_bytes() == b""


OPEN_IT = "import pathlib, sys; from federated.ledger import Ledger; Ledger(pathlib.Path(sys.argv[1]))"


def test_two_processes_cannot_charge_at_once(tmp_path):
    path = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-c", OPEN_IT, str(path)]
    with Ledger(path):
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PrivacyError" in refused.stderr
    assert "held by another process" in refused.stderr
    assert subprocess.run(command, check=False).returncode == 0  # free again
