"""MODEL_CARD.md: what the model is, where it comes from, how good it is, and what it is not for."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from compression.recipe import Recipe, parse_recipe
from contracts.bundle import CORE_ML, ArtifactQuality, Manifest
from export.exporter import OUTPUT_NAMES
from export.templates import render


class QualityRow(NamedTuple):
    name: str
    quality: ArtifactQuality


def render_model_card(
    manifest: Manifest, origin: str, baselines: Mapping[str, ArtifactQuality], task: str, tolerance: float
) -> str:
    """The card as Markdown.

    Args:
        manifest: with the files written so far.
        origin: what is known of where the data come from; of the demo's data, both authors' statements.
        baselines: name -> quality, measured as the model's was.
        task: what was asked of all of them, in words.
        tolerance: of the goldens.
    """
    return render(
        "MODEL_CARD.md",
        manifest=manifest,
        origin=origin,
        rows=quality_rows(manifest, baselines),
        sizes=list(artifact_sizes(manifest)),
        outputs=OUTPUT_NAMES,
        task=task,
        catalogue=_catalogue(parse_recipe(manifest.recipe)),
        adapter_floats=sum(math.prod(shape) for shape in manifest.adapter.values()),
        tolerance=tolerance,
    )


def _catalogue(recipe: Recipe) -> str:
    if recipe.code_bytes:
        return (
            f"Items are codes of {recipe.code_bytes} bytes, searched in lists: the best items of the nearest lists "
            "and of the history are returned."
        )
    return f"The item table is {recipe.table} in every artifact, the same numbers in each, stored once."


def quality_rows(manifest: Manifest, baselines: Mapping[str, ArtifactQuality]) -> list[QualityRow]:
    """Baselines, the teacher, then the artifacts."""
    rows = {**baselines, "teacher": manifest.teacher, **manifest.quality}
    return [QualityRow(name, quality) for name, quality in rows.items()]


def artifact_sizes(manifest: Manifest) -> Iterator[tuple[str, int]]:
    """Bytes of each file, an .mlpackage as one."""
    package = f"{CORE_ML}/"
    inside = [entry.bytes for name, entry in manifest.files.items() if name.startswith(package)]
    sizes = {name: entry.bytes for name, entry in manifest.files.items() if not name.startswith(package)}
    yield from sorted((sizes | ({CORE_ML: sum(inside)} if inside else {})).items())
