"""Each person's segment, by the definition."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.project import Segmentation
from contracts.segments import FEATURES, SegmentDefinition
from training.prepared import SEGMENTS, Prepared
from training.segments.features import features_of_people
from training.segments.fit import fit_definition, nearest_centre


@dataclass(frozen=True)
class Segments:
    """Code 0 is unknown; the others are ordered by value, the most valuable first."""

    names: tuple[str, ...]  # of the codes from 1
    person: NDArray[np.int32]  # [people] code of each person


def fit_segments(prepared: Prepared, seed: int) -> Segments:
    """Everybody's segment, phones' people too: by the definition saved with the log, else by one fitted now."""
    return apply_definition(prepared.segments or fit_definition(prepared, Segmentation(), seed), prepared)


def apply_definition(definition: SegmentDefinition, prepared: Prepared) -> Segments:
    """Give everybody the nearest centre; who neither bought nor browsed in the training weeks stays unknown.

    Args:
        definition: of this log or of an earlier one, whose codes a model already knows.
        prepared: the log.
    """
    features = features_of_people(prepared, definition.window_hours)
    columns = [FEATURES.index(name) for name in definition.features]
    points = (features.values[:, columns] - np.array(definition.mean)) / np.array(definition.deviation)
    person = np.zeros(len(points), np.int32)
    if definition.names:
        person[features.known] = nearest_centre(points[features.known], np.array(definition.centres)) + 1
    return Segments(definition.names, person)


def save_definition(definition: SegmentDefinition, folder: Path) -> None:
    """Write it beside the prepared log, where `training.prepared.load_prepared` finds it."""
    (folder / SEGMENTS).write_bytes(msgspec.json.format(msgspec.json.encode(definition), indent=2))
