"""The model's `context` input: codes of what the device knows about the moment and itself."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from contracts.bundle import ContextField

HOUR_OF_WEEK = "hour_of_week"
SEGMENT = "segment"
DEVICE_CLASS = "device_class"
ANYTHING = "anything"  # the wish of an app that does not ask for new items only


def hour_of_week(now_ms: int) -> int:
    """0 to 167, Monday 00:00 UTC first, of milliseconds since 1970."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return moment.weekday() * 24 + moment.hour


def encode_context(fields: Sequence[ContextField], values: Mapping[str, str]) -> tuple[int, ...]:
    """Codes in the order of the manifest's fields.

    Args:
        fields: the manifest's `context`.
        values: field name -> value; what is missing or has no code is unknown.

    Returns:
        one code per field, 0 for unknown.
    """
    return tuple(field.codes.get(values.get(field.name, ""), 0) for field in fields)
