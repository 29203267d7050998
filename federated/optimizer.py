"""The server optimizer: what a noised average does to the adapter. Post-processing, so it costs no privacy."""

from dataclasses import dataclass

import msgspec
import numpy as np

from contracts.errors import CheckFailed


class Momentum(msgspec.Struct, frozen=True, kw_only=True, tag="momentum"):
    """FedAvg with server momentum: m = beta m + average; adapter += learning_rate m. Plain FedAvg is 1 and 0.

    Source: Hsu, Qi & Brown 2019, "Measuring the Effects of Non-Identical Data Distribution", section 4.
    """

    learning_rate: float = 1.0
    beta: float = 0.9


class Adam(msgspec.Struct, frozen=True, kw_only=True, tag="adam"):
    """FedAdam: m = b1 m + (1 - b1) average; v = b2 v + (1 - b2) average^2; adapter += rate m / (sqrt(v) + tau).

    Source: Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2 (without bias correction, as there).
    """

    learning_rate: float = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3


ServerOptimizer = Momentum | Adam


@dataclass(frozen=True)
class OptimizerState:
    """Moments of the averages so far; Momentum leaves the second alone."""

    first: np.ndarray  # float64 [d]
    second: np.ndarray  # float64 [d]


def initial_state(optimizer: ServerOptimizer, dimension: int) -> OptimizerState:
    second = optimizer.tau**2 if isinstance(optimizer, Adam) else 0.0
    return OptimizerState(np.zeros(dimension), np.full(dimension, second))


def apply_average(
    optimizer: ServerOptimizer, state: OptimizerState, adapter: np.ndarray, average: np.ndarray
) -> tuple[np.ndarray, OptimizerState]:
    """One step of the server optimizer.

    Args:
        optimizer: which rule, with its constants.
        state: the moments before.
        adapter: float32 [d] that the round's phones started from.
        average: float64 [d], already noised; the optimizer never sees anything else.

    Returns:
        the next adapter, float32 [d], and the moments after.

    Raises:
        CheckFailed: if the step leaves the range of float32.
    """
    if isinstance(optimizer, Momentum):
        first, second = optimizer.beta * state.first + average, state.second
        step = optimizer.learning_rate * first
    else:
        first = optimizer.beta_1 * state.first + (1 - optimizer.beta_1) * average
        second = optimizer.beta_2 * state.second + (1 - optimizer.beta_2) * average**2
        step = optimizer.learning_rate * first / (np.sqrt(second) + optimizer.tau)
    with np.errstate(over="ignore"):
        moved = (adapter.astype(np.float64) + step).astype(np.float32)
    if not np.isfinite(moved).all():
        raise CheckFailed(
            "the server optimizer left the range of float32: lower its learning rate or the clipping norm"
        )
    return moved, OptimizerState(first, second)
