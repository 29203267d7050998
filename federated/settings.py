"""What a run of rounds is asked to do, and what it reports."""

import math
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.errors import ConfigError
from contracts.privacy import MIN_NOISE_MULTIPLIER
from contracts.rounds import MAX_ADAPTER_FLOATS
from federated.aggregation import UPDATE_DTYPE
from federated.ledger import Budget
from federated.optimizer import Momentum, ServerOptimizer
from federated.release import Mechanism
from sync_server.clock import Clock, FileClock, SystemClock


class FederatedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One run of rounds on one bundle.

    Example:
        FederatedSettings(store="sqlite:////srv/pocketrec/sync.sqlite", state="/srv/pocketrec/rounds",
                          ledger="/srv/privacy/ledger.jsonl", bundle_version=3, adapter=weights.tobytes(),
                          clipping_norm=0.5, noise_multiplier=1.0)
    """

    store: str  # address of the sync server's database, such as sqlite:////srv/pocketrec/sync.sqlite
    state: str  # folder of checkpoints and logs; made where missing
    ledger: str  # file of the privacy ledger; kept apart from the checkpoints' backups
    bundle_version: Annotated[int, Meta(ge=1)]
    adapter: bytes  # float32 [d], little endian: the bundle's, where training starts
    rounds: Annotated[int, Meta(ge=1)] = 1  # in all, those of an interrupted run included
    gateways: Annotated[int, Meta(ge=1, le=64)] = 2
    sampling_rate: float = 1.0  # q
    clipping_norm: float = 1.0  # C, global L2
    noise_multiplier: float = 1.0  # z
    delta: float = 1e-5
    epsilon_budget: float = 10.0  # over the whole ledger
    learning_rate: float = 0.05  # of the phones
    epochs: Annotated[int, Meta(ge=1, le=100)] = 1  # of the phones
    optimizer: ServerOptimizer = Momentum()
    clock_file: str | None = None  # the sync server's, where it does not read the machine's clock
    round_seconds: float = 30.0  # phones may answer this long after a round opened, on the server's clock
    patience_seconds: float = (
        120.0  # a gateway waits no longer than this, on the machine's clock, whatever the server's
    )
    startup_seconds: float = 60.0  # for the processes to find one another

    @property
    def dimension(self) -> int:
        return len(self.adapter) // UPDATE_DTYPE.itemsize

    @property
    def wait_seconds(self) -> float:
        """How long a gateway waits for phones, on the machine's clock."""
        return self.patience_seconds if self.clock_file else min(self.patience_seconds, self.round_seconds + 1.0)

    @property
    def clock(self) -> Clock:
        """The sync server's clock."""
        return FileClock(Path(self.clock_file)) if self.clock_file else SystemClock()

    @property
    def mechanism(self) -> Mechanism:
        return Mechanism(
            sampling_rate=self.sampling_rate,
            clipping_norm=self.clipping_norm,
            noise_multiplier=self.noise_multiplier,
            budget=Budget(epsilon=self.epsilon_budget, delta=self.delta),
        )

    @property
    def checkpoint_path(self) -> Path:
        return Path(self.state) / f"rounds-{self.bundle_version}.checkpoint"

    def check(self) -> None:
        """Raises ConfigError for what no run can be made of; one line that says what is allowed."""
        floats, rest = divmod(len(self.adapter), UPDATE_DTYPE.itemsize)
        if rest or not 1 <= floats <= MAX_ADAPTER_FLOATS:
            raise ConfigError(
                f"adapter has {len(self.adapter)} bytes, allowed are 1 to {MAX_ADAPTER_FLOATS} float32: "
                "pass the bundle's adapter as it is"
            )
        if not 0.0 < self.sampling_rate <= 1.0:
            raise ConfigError(f"sampling_rate is {self.sampling_rate}, allowed is above 0 and at most 1")
        if not 0.0 < self.delta < 1.0:
            raise ConfigError(f"delta is {self.delta}, allowed is between 0 and 1: 1e-5 is common")
        if not MIN_NOISE_MULTIPLIER <= self.noise_multiplier < math.inf:
            raise ConfigError(
                f"noise_multiplier is {self.noise_multiplier}, must be at least {MIN_NOISE_MULTIPLIER}: 1 is common"
            )
        for name in (
            "clipping_norm",
            "epsilon_budget",
            "learning_rate",
            "round_seconds",
            "patience_seconds",
            "startup_seconds",
        ):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ConfigError(f"{name} is {value}, must be a finite number above 0")


class FederatedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. Its counts of people are exact, no epsilon covers them: for the operator, not to publish."""

    rounds: int
    people_enrolled: int  # when the last round opened
    people_sampled: int  # over all rounds
    updates: int  # over all rounds
    refused: int  # updates that were malformed, over all rounds
    clipping_norm: float
    noise_multiplier: float
    sampling_rate: float
    epsilon: float  # of everything the ledger charged, earlier runs included
    delta: float
    charges: int  # lines of the ledger
    adapter_before: bytes  # float32 [d]
    adapter_after: bytes  # float32 [d]
    seconds: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a ServerApp ended, as it tells the process that launched it: no error, or one of `contracts.errors`."""

    error: str = ""  # name of the class
    message: str = ""
