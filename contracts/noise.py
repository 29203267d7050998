"""Where the noise comes from, and training's sampling coins: the one place that is never seeded for reproducibility.

A release draws from a Philox generator keyed afresh with 128 bits of the operating system's entropy; the key is stored
nowhere and the generator is dropped after the draw. Each number is the sum of four independent normals over two, again
a standard normal, which no longer lets its low bits tell which floats the sum held (Holohan & Braghin 2021, "Secure
Random Sampling in Differential Privacy"; Opacus's secure mode does the same).
"""

import secrets
from collections.abc import Callable

import numpy as np

NoiseSource = Callable[[int], np.ndarray]
"""A number of floats -> that many standard normals, float64."""

CoinSource = Callable[[int], np.ndarray]
"""A number of people -> that many uniform draws, float64 in [0, 1)."""


def _standard_normal(generator: np.random.Generator, size: int) -> np.ndarray:
    return generator.standard_normal((4, size)).sum(axis=0) / 2.0


def secure_noise(size: int) -> np.ndarray:
    """Standard normals that nobody can draw again: float64 [size]."""
    return _standard_normal(np.random.Generator(np.random.Philox(key=secrets.randbits(128))), size)


def secure_coins(size: int) -> np.ndarray:
    """Uniform draws that nobody can draw again: float64 [size], at least 0 and below 1."""
    return np.random.Generator(np.random.Philox(key=secrets.randbits(128))).random(size)


def seeded_noise(seed: int) -> NoiseSource:
    """Reproducible noise, for tests and simulations only: who knows the seed can subtract it.

    Successive calls go on in one stream, so no two draws of a source are the same.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    return lambda size: _standard_normal(generator, size)
