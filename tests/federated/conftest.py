"""A sync server's store with phones that take part in rounds, in this process."""

import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from contracts.consent import ConsentFact, Purpose
from contracts.rounds import RoundReceipt, RoundTask, RoundUpdate
from contracts.sync import EnrolRequest, SyncRequest
from federated.optimizer import Momentum
from federated.settings import FederatedSettings
from sync_server.enrolment import enrolling
from sync_server.rounds import submit
from sync_server.settings import ServerSettings
from sync_server.sql_store import SqlStore, open_store
from sync_server.sync import sync

BUNDLE_VERSION = 3
Train = Callable[[RoundTask], np.ndarray]


class Phone:
    """One person's phone: it says yes to federated training and answers every task with what `train` makes of it."""

    def __init__(self, store: SqlStore, settings: ServerSettings, train: Train) -> None:
        self._store = store
        self._settings = settings
        self._train = train
        self._device = enrolling(store, settings)(EnrolRequest(public_key=secrets.token_bytes(32)), "192.0.2.1")
        self._owner = f"anonymous:{self._device.device_id}"
        self.receipts: list[RoundReceipt] = []
        self.sync(consent=True)

    def sync(self, consent: bool = False) -> RoundTask | None:
        fact = ConsentFact(
            fact_id="opt-in", owner=self._owner, purpose=Purpose.FEDERATED_TRAINING, granted=True, cites=0
        )
        request = SyncRequest(
            device_id=self._device.device_id,
            epoch=self._device.epoch,
            generation=self._device.generation,
            sent_at=self._store.now_ms(),
            boot_id="boot",
            uptime_ms=0,
            owner=self._owner,
            consents=(fact,) if consent else (),
            bundle_version=BUNDLE_VERSION,
        )
        return sync(self._store, self._settings, self._device.device_id, request, "application/json").task

    def take_part(self) -> None:
        """Answer the open task, if there is one."""
        if task := self.sync():
            delta = self._train(task).astype("<f4").tobytes()
            self.receipts.append(submit(self._store, RoundUpdate(task_id=task.task_id, delta=delta)))


class Fleet:
    """Phones that keep coming back until the block ends."""

    def __init__(self, url: str, settings: ServerSettings) -> None:
        self._url = url
        self._settings = settings
        self._phones: list[Phone] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self.store = open_store(url, keys=settings.keys)

    def add(self, train: Train, count: int = 1) -> list[Phone]:
        added = [Phone(self.store, self._settings, train) for _ in range(count)]
        self._phones += added
        return added

    def __enter__(self) -> "Fleet":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._stop.wait(0.05):
            for phone in self._phones:
                phone.take_part()


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'sync.sqlite'}"


@pytest.fixture
def fleet(tmp_path: Path, store_url: str) -> Iterator[Fleet]:
    settings = ServerSettings(
        database_url=store_url,
        secret_key=secrets.token_bytes(32),
        identifier_keys={1: secrets.token_bytes(32)},
        identity_issuer="https://shop.invalid",
        identity_audience="tests",
        erasure_journal=str(tmp_path / "erasures"),
        repository=str(tmp_path / "repository"),
    )
    fleet = Fleet(store_url, settings)
    yield fleet
    fleet.store.close()


@pytest.fixture
def settings_of(tmp_path: Path, store_url: str) -> Callable[..., FederatedSettings]:
    """Settings of a run over the fleet's store, all of it under the test's folder."""

    def build(**fields: object) -> FederatedSettings:
        defaults: dict = {
            "store": store_url,
            "state": str(tmp_path / "state"),
            "ledger": str(tmp_path / "privacy" / "ledger.jsonl"),
            "bundle_version": BUNDLE_VERSION,
            "adapter": np.linspace(-1, 1, 6, dtype="<f4").tobytes(),
            "clipping_norm": 0.5,
            "noise_multiplier": 1.0,
            "delta": 1e-5,
            "epsilon_budget": 50.0,
            "optimizer": Momentum(learning_rate=1.0, beta=0.0),
            "round_seconds": 20.0,
        }
        return FederatedSettings(**(defaults | fields))

    return build
