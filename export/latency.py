"""How long an artifact takes to answer, on one thread of this host."""

import platform
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from export.runtimes import Evaluator, Feed

WARM_UP = 20  # calls: page faults, lazy allocation and clock boost lie behind
CALLS = 1_000  # the 99th percentile then rests on ten calls


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds a call."""

    p50: float
    p99: float


def host() -> str:
    """What the figures belong to, such as "x86 host"."""
    machine = platform.machine()
    return "x86 host" if machine in ("x86_64", "AMD64", "i686") else f"{machine} host"


def measure_latency(evaluator: Evaluator, feeds: Sequence[Feed], calls: int = CALLS) -> Latency:
    """Time calls one after the other, warmed up.

    Args:
        evaluator: of one thread; the Core ML reference evaluator says nothing about a phone and is not to be timed.
        feeds: histories, taken in turn.
        calls: how many are timed.
    """
    for call in range(WARM_UP):
        evaluator.rank(feeds[call % len(feeds)])
    milliseconds = np.empty(calls)
    for call in range(calls):
        feed = feeds[call % len(feeds)]
        start = time.perf_counter_ns()
        evaluator.rank(feed)
        milliseconds[call] = (time.perf_counter_ns() - start) / 1e6
    return Latency(*(float(np.quantile(milliseconds, share)) for share in (0.5, 0.99)))
