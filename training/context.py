"""The model's context input as training makes it; the device makes the same from the manifest's codes."""

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import DEVICE_CLASSES, WISH, WISHES, ContextField
from training.histories import HOURS_OF_WEEK, hour_of_week
from training.prepared import Prepared
from training.segments import Segments

HOUR_OF_WEEK, DEVICE_CLASS, SEGMENT = "hour_of_week", "device_class", "segment"


def context_fields(segments: Segments) -> tuple[ContextField, ...]:
    """The columns of `context`, in order."""
    hours = {str(hour): hour + 1 for hour in range(HOURS_OF_WEEK)}
    devices: dict[str, int] = {name: code for code, name in enumerate(DEVICE_CLASSES, start=1)}
    names = {name: code for code, name in enumerate(segments.names, start=1)}
    return (
        ContextField(HOUR_OF_WEEK, len(hours) + 1, hours),
        ContextField(DEVICE_CLASS, len(devices) + 1, devices),
        ContextField(SEGMENT, len(names) + 1, names),
        ContextField(WISH, len(WISHES) + 1, WISHES),
    )


def context_of(
    prepared: Prepared, baskets: NDArray[np.integer], segments: Segments, wish: str = "anything"
) -> NDArray[np.int32]:
    """int32 [n, 4]: what was known just before each basket."""
    columns = np.zeros((len(baskets), 4), np.int32)
    columns[:, 0] = hour_of_week(prepared.basket_hour[baskets]) + 1
    columns[:, 1] = prepared.basket_device[baskets]
    columns[:, 2] = segments.person[prepared.basket_person[baskets]]
    columns[:, 3] = WISHES[wish]
    return columns
