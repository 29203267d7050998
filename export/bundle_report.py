"""The bundle's report.html: one self-contained page, the same bytes for the same bundle (no dates, no timings)."""

from collections.abc import Mapping

from contracts.bundle import REPORT, ArtifactQuality, Manifest
from export.exporter import OUTPUT_NAMES
from export.model_card import artifact_sizes, quality_rows
from export.templates import render


def render_report(manifest: Manifest, origin: str, baselines: Mapping[str, ArtifactQuality], task: str) -> str:
    """The page as HTML.

    Args:
        manifest: with the files written so far.
        origin: what is known of where the data come from.
        baselines: name -> quality, measured as the model's was.
        task: what was asked of all of them, in words.
    """
    rows, sizes = quality_rows(manifest, baselines), list(artifact_sizes(manifest))
    highest = [row.quality.ndcg_at_10.high for row in rows if row.quality.ndcg_at_10 is not None]
    return render(
        REPORT,
        manifest=manifest,
        origin=origin,
        rows=rows,
        sizes=sizes,
        outputs=OUTPUT_NAMES,
        task=task,
        most=max(highest, default=0.0) or 1.0,
        largest=max((bytes_ for _, bytes_ in sizes), default=1) or 1,
    )
