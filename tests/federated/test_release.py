"""Charge, draw, persist, apply, complete: death between any two steps never draws twice under one charge.

Every call of fsync, rename and write is a place to die at; the test visits all of them.
"""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.errors import PrivacyError, RunError
from contracts.noise import seeded_noise
from federated.checkpoint import RoundCounts, load_checkpoint, save_checkpoint
from federated.ledger import Budget, Ledger, read_ledger
from federated.optimizer import Adam, Momentum, apply_average, initial_state
from federated.release import Mechanism, Step, release, resume

DIMENSION = 4
ADAPTER = np.arange(DIMENSION, dtype="<f4").tobytes()
TOTAL = np.array([0.5, -0.25, 0.0, 1.0])
MECHANISM = Mechanism(
    sampling_rate=0.5, clipping_norm=1.0, noise_multiplier=2.0, budget=Budget(epsilon=100.0, delta=1e-5)
)
ADAM = Adam()


def counts(number: int) -> RoundCounts:
    return RoundCounts(round_id=f"round-{number}", people_enrolled=20, people_sampled=9, updates=7, gateways=2)


class CountingNoise:
    """A simulation's noise that remembers what it gave."""

    def __init__(self) -> None:
        self._source = seeded_noise(11)
        self.drawn: list[np.ndarray] = []

    def __call__(self, size: int) -> np.ndarray:
        self.drawn.append(self._source(size))
        return self.drawn[-1]


def play(folder: Path, noise: CountingNoise, until: int = 3, stop_after: Step | None = None) -> None:
    """Rounds until so many are complete, or until the process 'dies' right after a step of the next one."""
    path = folder / "checkpoint"
    with Ledger(folder / "ledger.jsonl") as ledger:
        checkpoint = resume(path, ledger, 1, ADAPTER, ADAM)
        while len(checkpoint.rounds) < until:
            number = len(ledger.entries)
            steps = release(path, ledger, checkpoint, TOTAL, counts(number), MECHANISM, ADAM, noise)
            for step, reached in steps:
                checkpoint = reached
                if step is stop_after:
                    return


def replayed(noises: list[np.ndarray]) -> bytes:
    """The adapter that these draws, and only these, lead to."""
    adapter, state = np.frombuffer(ADAPTER, "<f4"), initial_state(ADAM, DIMENSION)
    for noise in noises:
        adapter, state = apply_average(ADAM, state, adapter, (TOTAL + 2.0 * noise) / 10.0)
    return adapter.tobytes()


def test_the_steps_come_in_the_one_right_order(tmp_path):
    noise = CountingNoise()
    path = tmp_path / "checkpoint"
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        fresh = resume(path, ledger, 1, ADAPTER, ADAM)
        seen = []
        for step, _ in release(path, ledger, fresh, TOTAL, counts(0), MECHANISM, ADAM, noise):
            stored = load_checkpoint(path)
            pending, rounds = (stored.pending is not None, len(stored.rounds)) if stored else (False, 0)
            seen.append((step, len(read_ledger(tmp_path / "ledger.jsonl")), len(noise.drawn), pending, rounds))
    assert seen == [  # lines of the ledger, draws, noised sum pending, rounds complete
        (Step.CHARGED, 1, 0, False, 0),
        (Step.NOISED, 1, 1, False, 0),
        (Step.PERSISTED, 1, 1, True, 0),
        (Step.APPLIED, 1, 1, True, 0),
        (Step.COMPLETE, 1, 1, False, 1),
    ]
    assert load_checkpoint(path).adapter == replayed(noise.drawn)


@pytest.mark.parametrize("step", list(Step))
def test_death_after_any_step_draws_no_noise_twice_under_one_charge(tmp_path, step):
    noise = CountingNoise()
    play(tmp_path, noise, until=1, stop_after=step)
    died_with = list(noise.drawn)
    play(tmp_path, noise, until=1)
    charges = len(read_ledger(tmp_path / "ledger.jsonl"))
    checkpoint = load_checkpoint(tmp_path / "checkpoint")
    if step in (Step.CHARGED, Step.NOISED):  # nothing was kept: a new round under a new charge
        assert charges == 2
        assert checkpoint.adapter == replayed(noise.drawn[-1:])
    else:  # the noised sum is there: used as it is
        assert (charges, len(noise.drawn)) == (1, 1)
        assert checkpoint.adapter == replayed(died_with)
    assert len(noise.drawn) <= charges


def test_every_step_is_durable_before_the_next_begins(tmp_path, monkeypatch):
    """The charge reaches the disk before noise is drawn, a checkpoint's content before its name."""
    done: list[str] = []

    def recorded(name, real):
        def call(*arguments, **named):
            done.append(name)
            return real(*arguments, **named)

        return call

    noise = CountingNoise()
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        fresh = resume(tmp_path / "checkpoint", ledger, 1, ADAPTER, ADAM)
        for name in ("write", "fsync"):
            monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
        monkeypatch.setattr(Path, "replace", recorded("replace", Path.replace))
        draw = recorded("draw", noise)
        for step, _ in release(tmp_path / "checkpoint", ledger, fresh, TOTAL, counts(0), MECHANISM, ADAM, draw):
            done.append(step)
    atomic_write = ["fsync", "replace", "fsync"]
    assert done == [
        *("write", "fsync", Step.CHARGED, "draw", Step.NOISED),
        *(*atomic_write, Step.PERSISTED, Step.APPLIED, *atomic_write, Step.COMPLETE),
    ]


class Killed(BaseException):
    """Ends a run as a signal would: nothing of ours catches it."""


def dying_at(monkeypatch: pytest.MonkeyPatch, operation: int) -> None:
    """Let every durable operation up to this one happen, and die instead of it."""
    done = 0

    def guarded(real):
        def call(*arguments, **named):
            nonlocal done
            done += 1
            if done > operation:
                raise Killed
            return real(*arguments, **named)

        return call

    for name in ("fsync", "write", "open"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    monkeypatch.setattr(Path, "replace", guarded(Path.replace))


def test_death_at_any_write_fsync_or_rename_leaves_what_the_next_run_goes_on_from(tmp_path):
    deaths = 0
    for operation in range(200):
        folder = tmp_path / str(operation)
        folder.mkdir()
        noise = CountingNoise()
        with pytest.MonkeyPatch.context() as patch:
            dying_at(patch, operation)
            try:
                play(folder, noise, until=2)
                alive = True
            except Killed:
                alive = False
                deaths += 1
        drawn_before = len(noise.drawn)
        assert drawn_before <= len(read_ledger(folder / "ledger.jsonl")), (
            "noise was drawn before its charge was durable"
        )
        held = load_checkpoint(folder / "checkpoint")
        play(folder, noise, until=2)
        entries = read_ledger(folder / "ledger.jsonl")
        checkpoint = load_checkpoint(folder / "checkpoint")
        assert len(checkpoint.rounds) == 2
        assert checkpoint.pending is None
        assert len(noise.drawn) <= len(entries) <= 3  # one death wastes one charge at most
        if held is not None and held.pending is not None:  # the persisted noise is in the adapter, not drawn again
            kept = len(held.rounds) + 1
            assert checkpoint.adapter == replayed([*noise.drawn[:kept], *noise.drawn[len(noise.drawn) - (2 - kept) :]])
        if alive:
            break
    else:
        pytest.fail("the run never came to its end")
    assert deaths > 20


def test_a_ledger_behind_its_checkpoint_is_refused(tmp_path):
    play(tmp_path, CountingNoise(), until=2)
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(PrivacyError, match="behind"):
        play(tmp_path, CountingNoise(), until=3)


def test_a_ledger_ahead_of_its_checkpoint_is_just_spent(tmp_path):
    noise = CountingNoise()
    play(tmp_path, noise, until=1)
    older = (tmp_path / "checkpoint").read_bytes()
    play(tmp_path, noise, until=2)
    (tmp_path / "checkpoint").write_bytes(older)  # a restored backup
    play(tmp_path, noise, until=2)
    assert len(read_ledger(tmp_path / "ledger.jsonl")) == len(noise.drawn) == 3


def test_a_round_over_the_budget_releases_nothing(tmp_path):
    noise = CountingNoise()
    tight = msgspec.structs.replace(MECHANISM, budget=Budget(epsilon=0.01, delta=1e-5))
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        fresh = resume(tmp_path / "checkpoint", ledger, 1, ADAPTER, ADAM)
        with pytest.raises(PrivacyError, match="budget"):
            list(release(tmp_path / "checkpoint", ledger, fresh, TOTAL, counts(0), tight, ADAM, noise))
    assert not noise.drawn
    assert not (tmp_path / "checkpoint").exists()


def test_a_checkpoint_of_another_bundle_is_refused(tmp_path):
    play(tmp_path, CountingNoise(), until=1)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for bundle, adapter in ((2, ADAPTER), (1, bytes(len(ADAPTER)))):
            with pytest.raises(RunError, match="belongs to bundle"):
                resume(tmp_path / "checkpoint", ledger, bundle, adapter, Momentum())


@pytest.mark.parametrize("place", [0, 31, 32, 60, -1])
def test_a_damaged_checkpoint_is_refused(tmp_path, place):
    play(tmp_path, CountingNoise(), until=1)
    path = tmp_path / "checkpoint"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_format_is_refused(tmp_path):
    play(tmp_path, CountingNoise(), until=1)
    path = tmp_path / "checkpoint"
    save_checkpoint(path, msgspec.structs.replace(load_checkpoint(path), format_version=99))
    with pytest.raises(RunError, match="format 99"):
        load_checkpoint(path)
