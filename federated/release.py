"""From a round's sum to the next adapter, in the one order that keeps the ledger true.

    charge -> draw noise -> persist the noised sum -> apply the optimizer -> complete the checkpoint

A crash between any two of these never draws noise twice under one charge: before the noised sum is on disk, going on
means a new round and a new charge; after, going on means the noised sum that is there.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np

from contracts.errors import RunError
from contracts.noise import NoiseSource, secure_noise
from contracts.privacy import Charge
from federated.aggregation import SUM_DTYPE, UPDATE_DTYPE, add_noise, average
from federated.checkpoint import Checkpoint, NoisedSum, RoundCounts, load_checkpoint, save_checkpoint
from federated.ledger import Budget, Ledger
from federated.optimizer import ServerOptimizer, apply_average, initial_state
from federated.sampling import expected_cohort


class Step(StrEnum):
    CHARGED = "charged"
    NOISED = "noised"
    PERSISTED = "persisted"
    APPLIED = "applied"
    COMPLETE = "complete"


class Mechanism(msgspec.Struct, frozen=True, kw_only=True):
    """The public constants of every release of a run."""

    sampling_rate: float  # q
    clipping_norm: float  # C
    noise_multiplier: float  # z
    budget: Budget

    @property
    def charge(self) -> Charge:
        """What one release costs."""
        return Charge(sampling_rate=self.sampling_rate, noise_multiplier=self.noise_multiplier)


def resume(
    path: Path, ledger: Ledger, bundle_version: int, initial_adapter: bytes, optimizer: ServerOptimizer
) -> Checkpoint:
    """The checkpoint to go on from: a new one, the last complete one, or a pending one completed without new noise.

    Raises:
        RunError: if the checkpoint belongs to another bundle or started from another adapter.
        PrivacyError: if the ledger is behind the checkpoint.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint is None:
        dimension = len(initial_adapter) // UPDATE_DTYPE.itemsize
        state = initial_state(optimizer, dimension)
        return Checkpoint(
            bundle_version=bundle_version,
            initial_adapter=initial_adapter,
            adapter=initial_adapter,
            first_moment=state.first.astype(SUM_DTYPE).tobytes(),
            second_moment=state.second.astype(SUM_DTYPE).tobytes(),
            ledger_length=len(ledger.entries),
            ledger_head=ledger.head,
        )
    if (checkpoint.bundle_version, checkpoint.initial_adapter) != (bundle_version, initial_adapter):
        raise RunError(
            f"checkpoint {path} belongs to bundle {checkpoint.bundle_version} and its adapter, not to the bundle "
            f"{bundle_version} given: use another state folder"
        )
    ledger.require(checkpoint.ledger_length, checkpoint.ledger_head)
    if checkpoint.pending is None:
        return checkpoint
    complete = apply_pending(checkpoint, optimizer)
    save_checkpoint(path, complete)
    return complete


def release(
    path: Path,
    ledger: Ledger,
    checkpoint: Checkpoint,
    total: np.ndarray,
    counts: RoundCounts,
    mechanism: Mechanism,
    optimizer: ServerOptimizer,
    noise: NoiseSource = secure_noise,
) -> Iterator[tuple[Step, Checkpoint]]:
    """Release a round's sum, step by step.

    Args:
        path: of the checkpoint.
        ledger: open for charging.
        checkpoint: complete, to go on from.
        total: float64 [d], the sum of clipped updates of all gateways that answered.
        counts: of the round.
        mechanism: public constants.
        optimizer: applied to the noised average.
        noise: the operating system's entropy unless a simulation seeds its own, and says so.

    Yields:
        each step as soon as it is done, with the checkpoint that a resume would go on from.

    Raises:
        PrivacyError: if the sum is not finite or the budget would be passed; nothing is released then.
    """
    ledger.charge(
        counts.round_id,
        mechanism.charge,
        clipping_norm=mechanism.clipping_norm,
        people_enrolled=counts.people_enrolled,
        budget=mechanism.budget,
    )
    yield Step.CHARGED, checkpoint
    noised = add_noise(total, mechanism.clipping_norm, mechanism.noise_multiplier, noise)
    yield Step.NOISED, checkpoint
    pending = msgspec.structs.replace(
        checkpoint,
        ledger_length=len(ledger.entries),
        ledger_head=ledger.head,
        pending=NoisedSum(
            noised_sum=noised.astype(SUM_DTYPE).tobytes(),
            expected_cohort=expected_cohort(counts.people_enrolled, mechanism.sampling_rate),
            counts=counts,
        ),
    )
    save_checkpoint(path, pending)
    yield Step.PERSISTED, pending
    complete = apply_pending(pending, optimizer)
    yield Step.APPLIED, pending
    save_checkpoint(path, complete)
    yield Step.COMPLETE, complete


def apply_pending(checkpoint: Checkpoint, optimizer: ServerOptimizer) -> Checkpoint:
    """The checkpoint after its pending noised sum: without randomness, so any number of tries gives the same adapter.

    Raises:
        CheckFailed: if the step leaves the range of float32.
    """
    pending = checkpoint.pending
    if pending is None:
        return checkpoint
    mean = average(np.frombuffer(pending.noised_sum, dtype=SUM_DTYPE), pending.expected_cohort)
    adapter, state = apply_average(optimizer, checkpoint.optimizer_state, checkpoint.adapter_array, mean)
    return msgspec.structs.replace(
        checkpoint,
        adapter=adapter.astype(UPDATE_DTYPE).tobytes(),
        first_moment=state.first.astype(SUM_DTYPE).tobytes(),
        second_moment=state.second.astype(SUM_DTYPE).tobytes(),
        rounds=(*checkpoint.rounds, pending.counts),
        pending=None,
    )
