"""How long to wait after a failed request: exponentially longer, and never in step with other devices."""

import random

BASE_S = 2.0
CAP_S = 3600.0


class Backoff:
    """Full jitter. Source: Brooker, Exponential Backoff and Jitter, AWS Architecture Blog 2015."""

    def __init__(self, random_state: random.Random, base_s: float = BASE_S, cap_s: float = CAP_S) -> None:
        self._random = random_state
        self._base_s = base_s
        self._cap_s = cap_s
        self._failures = 0
        self._asked_s = 0.0

    def asked(self, wait_s: float) -> None:
        """The server asks not to come back before so many seconds have passed."""
        self._asked_s = wait_s

    def failed(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        drawn_s = self._random.uniform(0, min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 32)))
        return self._asked_s + drawn_s

    def succeeded(self) -> None:
        self._failures, self._asked_s = 0, 0.0
