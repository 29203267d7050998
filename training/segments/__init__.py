"""Segments of people: found once among central people, then a plain rule for everybody.

`prepare` fits the definition and saves it as `segments.json`; every later step gives people their segments by it.
"""

from training.segments.fit import fit_definition, nearest_centre
from training.segments.people import Segments, apply_definition, fit_segments, save_definition

__all__ = [
    "Segments",
    "apply_definition",
    "fit_definition",
    "fit_segments",
    "nearest_centre",
    "save_definition",
]
