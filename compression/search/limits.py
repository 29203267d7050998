"""What an artifact may cost, as people write it: 300KB, 1ms, 2%."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.errors import ConfigError

BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
SHARES = {"%": 0.01}
LATENCY_MARGIN = 1.25  # a median above its limit by less may be the machine's: it keeps no recipe out


@dataclass(frozen=True)
class Limits:
    """What must hold of the chosen artifact; None: anything goes."""

    max_bytes: float | None = None
    max_latency_ms: float | None = None  # median of one thread
    max_loss: float | None = None  # of NDCG@10 against the float model, as a share; its upper bound must not be above


def parse_limits(max_bytes: str | None, max_latency: str | None, max_loss: str | None) -> Limits:
    """Limits of their texts.

    Raises:
        ConfigError: if one of them is no amount of its unit.
    """
    return Limits(
        max_bytes=_parse("--max-bytes", max_bytes, BYTES, "300KB or 1.5MiB"),
        max_latency_ms=_parse("--max-latency", max_latency, MILLISECONDS, "1ms or 300us"),
        max_loss=_parse("--max-loss", max_loss, SHARES, "2% or 0.5%"),
    )


def _parse(option: str, text: str | None, units: Mapping[str, float], example: str) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z%]+)\s*", text)
    if found is None or found[2] not in units or not float(found[1]):
        raise ConfigError(f"{option} {text!r} is no amount in {', '.join(units)}: write it as {example}")
    return float(found[1]) * units[found[2]]
