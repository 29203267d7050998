"""The real thing: a SuperLink, two SuperNodes and the ServerApp as processes on loopback, under TLS."""

import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import CheckFailed, ConfigError, PrivacyError
from federated.launch import run_rounds
from federated.ledger import ledger_epsilon, read_ledger


def processes_that_mention(text: str) -> list[int]:
    """Processes with a text in their command line, once those that are ending have had a minute to end."""
    give_up = time.monotonic() + 60
    while (found := _mention(text)) and time.monotonic() < give_up:
        time.sleep(0.1)
    return found


def _mention(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class Proxy:
    """Notes who tries to leave the machine through the proxy that the environment names.

    Only what a proxy is asked for counts (RFC 9112, section 3.2): on a busy machine a stranger may knock at a port that
    was another server's a moment before.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.calls: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    asked = connection.recv(1024).split(b"\r\n")[0]
                except OSError:
                    continue
            method, _, target = asked.partition(b" ")
            if method == b"CONNECT" or target.startswith((b"http://", b"https://")):
                self.calls.append(asked)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy(monkeypatch):
    proxy = Proxy()
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    yield proxy
    proxy.close()


def test_a_round_over_real_processes(tmp_path, settings_of, fleet, proxy, monkeypatch):
    runtime = tmp_path / "a folder with spaces"
    runtime.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(runtime))
    settings = settings_of(sampling_rate=0.9, noise_multiplier=2.0)
    generator = np.random.default_rng(0)
    phones = fleet.add(lambda task: generator.normal(0, 10, len(task.adapter) // 4), 6)
    with fleet:
        report = run_rounds(settings)
    entries = read_ledger(Path(settings.ledger))

    assert (report.rounds, report.charges, len(entries)) == (1, 1, 1)
    assert report.people_enrolled == 6
    answered = [receipt for phone in phones for receipt in phone.receipts]
    assert report.updates == report.people_sampled == len(answered)
    assert all(receipt.accepted for receipt in answered)
    assert report.epsilon == ledger_epsilon(entries, settings.delta) > 0
    assert report.adapter_before == settings.adapter
    assert len(report.adapter_after) == len(settings.adapter)
    assert report.adapter_after != report.adapter_before
    assert proxy.calls == [], "something tried to leave the machine"
    assert list(runtime.iterdir()) == [], "keys were left behind"
    assert processes_that_mention(str(runtime)) == []

    again = run_rounds(settings)  # nothing left to do, nothing charged, no process started
    assert (again.adapter_after, again.charges) == (report.adapter_after, 1)


def test_what_the_server_app_refuses_reaches_the_caller_and_stops_everything(tmp_path, settings_of, fleet, monkeypatch):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(runtime))
    with pytest.raises(CheckFailed, match="nobody is enrolled"):
        run_rounds(settings_of())
    assert processes_that_mention(str(runtime)) == []


def test_a_spent_budget_starts_nothing(tmp_path, settings_of, fleet):
    fleet.add(lambda task: np.zeros(len(task.adapter) // 4))
    with pytest.raises(PrivacyError, match="budget"):
        run_rounds(settings_of(epsilon_budget=0.1))
    assert not (tmp_path / "state" / "logs").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("adapter", b"abc"),
        ("adapter", b""),
        ("adapter", bytes(4 * 5000)),
        ("sampling_rate", 0.0),
        ("sampling_rate", 1.01),
        ("noise_multiplier", 0.0),
        ("delta", 0.0),
        ("clipping_norm", -1.0),
        ("clipping_norm", float("nan")),
        ("epsilon_budget", 0.0),
        ("round_seconds", float("inf")),
    ],
)
def test_settings_that_make_no_run_are_refused_before_anything_starts(tmp_path, settings_of, field, value):
    with pytest.raises(ConfigError, match=field):
        run_rounds(settings_of(**{field: value}))
    assert not (tmp_path / "state").exists()
    assert not list(tmp_path.iterdir())
