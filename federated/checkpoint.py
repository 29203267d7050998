"""Where a run of rounds stands: one file, replaced as a whole."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from contracts.errors import RunError
from export.durable import PRIVATE, write_durably
from federated.aggregation import SUM_DTYPE, UPDATE_DTYPE
from federated.optimizer import OptimizerState

FORMAT_VERSION = 1


class RoundCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What a round counted. Exact counts of people are the trusted side's own: no epsilon covers publishing them."""

    round_id: str
    people_enrolled: int
    people_sampled: int
    updates: int  # that were summed
    refused: int = 0  # malformed, so not summed
    gateways: int = 0  # that answered


class NoisedSum(msgspec.Struct, frozen=True, kw_only=True):
    """A paid-for release that the optimizer has not seen yet: used as it is on resume, never drawn again."""

    noised_sum: bytes  # float64 [d]
    expected_cohort: float
    counts: RoundCounts


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    bundle_version: int
    initial_adapter: bytes  # float32 [d]
    adapter: bytes  # float32 [d]
    first_moment: bytes  # float64 [d], of the server optimizer
    second_moment: bytes  # float64 [d]
    ledger_length: int  # lines of the ledger that this checkpoint has seen
    ledger_head: str  # hash of the last of them
    rounds: tuple[RoundCounts, ...] = ()  # completed
    pending: NoisedSum | None = None
    format_version: int = FORMAT_VERSION

    @property
    def adapter_array(self) -> np.ndarray:
        return np.frombuffer(self.adapter, dtype=UPDATE_DTYPE)

    @property
    def optimizer_state(self) -> OptimizerState:
        return OptimizerState(
            np.frombuffer(self.first_moment, dtype=SUM_DTYPE), np.frombuffer(self.second_moment, dtype=SUM_DTYPE)
        )


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint, atomically and durably; its sha256 goes first."""
    content = msgspec.msgpack.encode(checkpoint)
    write_durably(path, hashlib.sha256(content).digest() + content, PRIVATE)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint, or None where there is none yet.

    Raises:
        RunError: if the file is damaged or of another format.
    """
    if not path.exists():
        return None
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise RunError(
            f"checkpoint {path} is damaged: put a backup of it back, or move it away to start the rounds anew"
        )
    checkpoint = msgspec.msgpack.decode(content, type=Checkpoint)
    if checkpoint.format_version != FORMAT_VERSION:
        raise RunError(
            f"checkpoint {path} has format {checkpoint.format_version}, this version reads {FORMAT_VERSION}: "
            "finish its rounds with the version that began them"
        )
    return checkpoint
