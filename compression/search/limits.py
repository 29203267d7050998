"""What an artifact may cost, as people write it: 300KB, 1ms, 2%."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from contracts.errors import ConfigError

BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
SHARES = {"%": 0.01}
LossOf = Literal["float", "teacher"]
"""The model that a loss is relative to: the distilled one before it was stored, or what it was distilled from."""
LATENCY_MARGIN = 1.25  # a median above its limit by less may be the machine's: it keeps no recipe out


@dataclass(frozen=True)
class Limits:
    """What must hold of the chosen artifact; None: anything goes."""

    max_bytes: float | None = None
    max_latency_ms: float | None = None  # median of one thread
    max_loss: float | None = None  # of NDCG@10, as a share; its upper bound must not be above
    loss_of: LossOf = "float"


def parse_limits(
    max_bytes: str | None, max_latency: str | None, max_loss: str | None, loss_of: str | None = None
) -> Limits:
    """Limits of their texts.

    Raises:
        ConfigError: if one of them is no amount of its unit, or a loss is of nothing known, or of none.
    """
    if loss_of is not None and loss_of not in get_args(LossOf):
        raise ConfigError(f"--max-loss-of {loss_of!r}: take {' or '.join(get_args(LossOf))}")
    if loss_of is not None and max_loss is None:
        raise ConfigError(f"--max-loss-of {loss_of} limits nothing by itself: give --max-loss too, such as 2%")
    return Limits(
        max_bytes=_parse("--max-bytes", max_bytes, BYTES, "300KB or 1.5MiB"),
        max_latency_ms=_parse("--max-latency", max_latency, MILLISECONDS, "1ms or 300us"),
        max_loss=_parse("--max-loss", max_loss, SHARES, "2% or 0.5%"),
        loss_of="teacher" if loss_of == "teacher" else "float",
    )


def _parse(option: str, text: str | None, units: Mapping[str, float], example: str) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z%]+)\s*", text)
    if found is None or found[2] not in units or not float(found[1]):
        raise ConfigError(f"{option} {text!r} is no amount in {', '.join(units)}: write it as {example}")
    return float(found[1]) * units[found[2]]
