"""The bundle: everything a phone and its app need, deterministic byte for byte, in one directory.

Two steps lead to it. `export.exporter.export_artifacts` converts the model; what it wrote is then evaluated, and
`build_bundle` puts the artifacts together with the figures that were measured on them.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts import codec
from contracts.bundle import (
    CATALOGUE,
    GOLDENS,
    MANIFEST,
    MODEL_CARD,
    REPORT,
    ArtifactQuality,
    FileEntry,
    Manifest,
    PrivacyStatement,
    Provenance,
)
from contracts.errors import BundleError
from contracts.events import EVENT_CODES
from contracts.segments import SegmentDefinition
from contracts.summary import HALF_LIFE_HOURS
from export.artifacts import exporters
from export.bindings import FOLDER, write_bindings
from export.bundle_report import render_report
from export.catalogue import CatalogueContents, write_catalogue
from export.durable import sync_folder, write_durably
from export.goldens import make_goldens
from export.model_card import render_model_card
from export.runtimes import ModuleEvaluator, open_evaluator
from export.signatures import manifest_signatures
from export.verify import sha256_of

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


@dataclass(frozen=True)
class BundleInputs:
    """What a bundle is made of.

    Attributes:
        project: its name.
        bundle_version: at least 1, higher than any published before.
        model: what the artifacts were exported from, with the adapter they carry.
        model_version: sha256 of its weights, as `compression.checkpoint.save_device_model` gives it.
        artifacts: folder that `export_artifacts(model, folder, "shipped")` wrote.
        catalogue: of the items that the model ranks.
        quality: artifact -> what was measured on the very files in `artifacts`.
        teacher: of the model that taught this one.
        task: what was asked of all of them, in words: "the next basket, from what was known strictly before it".
        baselines: name -> quality, for the card and the report.
        recipe: how the model was compressed.
        origin: what is known of where the data come from.
        provenance: hashes and package versions.
        privacy: whom an epsilon covers, and whom not.
        seed: of the goldens.
        segments: the rule that gives a person the segment of the model's context; None where it has none.
    """

    project: str
    bundle_version: int
    model: "DeviceModel"
    model_version: str
    artifacts: Path
    catalogue: CatalogueContents
    quality: Mapping[str, ArtifactQuality]
    teacher: ArtifactQuality
    task: str
    baselines: Mapping[str, ArtifactQuality]
    recipe: str
    origin: str
    provenance: Provenance
    privacy: PrivacyStatement
    seed: int
    segments: SegmentDefinition | None = None


def build_bundle(inputs: BundleInputs, out_dir: Path) -> Manifest:
    """Build the bundle; the same inputs give the same bytes, in any process.

    Args:
        inputs: see `BundleInputs`.
        out_dir: where it will stand; it appears when everything is written, and must be absent or empty before.

    Returns:
        The manifest. `export.keys.sign_manifest` signs it, `export.repository.publish` publishes it.

    Raises:
        BundleError: if an artifact is missing or cannot be loaded, the catalogue has not the model's items, or there is
            something at `out_dir`.
    """
    spec = inputs.model.spec
    if len(inputs.catalogue.items) != spec.items:
        raise BundleError(
            f"the catalogue has {len(inputs.catalogue.items)} items, the model ranks {spec.items}: "
            "take both from one run"
        )
    if out_dir.exists() and any(out_dir.iterdir()):
        raise BundleError(f"{out_dir} is not empty: give the bundle a folder of its own")
    staging = out_dir.with_name(f".{out_dir.name}.new")
    shutil.rmtree(staging, ignore_errors=True)  # left by a build that was cut off
    staging.mkdir(parents=True)
    for artifact in exporters():
        _copy(inputs.artifacts / artifact, staging / artifact)
    write_catalogue(staging / CATALOGUE, inputs.catalogue)
    evaluators = {artifact: open_evaluator(staging / artifact) for artifact in exporters()}
    goldens = make_goldens(spec, evaluators, ModuleEvaluator(inputs.model), inputs.seed)
    write_durably(staging / GOLDENS, codec.encode(goldens))
    manifest = _manifest(inputs)
    write_bindings(staging / FOLDER, manifest)
    so_far = msgspec.structs.replace(manifest, files=_entries(staging))
    card = render_model_card(so_far, inputs.origin, inputs.baselines, inputs.task, goldens.tolerance)
    write_durably(staging / MODEL_CARD, card.encode())
    write_durably(staging / REPORT, render_report(so_far, inputs.origin, inputs.baselines, inputs.task).encode())
    manifest = msgspec.structs.replace(manifest, files=_entries(staging))
    write_durably(staging / MANIFEST, codec.encode(manifest))
    staging.rename(out_dir)
    sync_folder(out_dir.parent)
    return manifest


def _manifest(inputs: BundleInputs) -> Manifest:
    spec = inputs.model.spec
    return Manifest(
        bundle_version=inputs.bundle_version,
        project=inputs.project,
        model_version=inputs.model_version,
        catalogue_version=inputs.catalogue.version,
        items=spec.items,
        history_length=spec.history_length,
        candidates=spec.candidates,
        half_life_hours=HALF_LIFE_HOURS,
        event_codes={kind.value: code for kind, code in EVENT_CODES.items()},
        context=spec.context,
        signatures=manifest_signatures(inputs.model),
        adapter={name: tuple(value.shape) for name, value in inputs.model.adapter_values().items()},
        files={},
        quality=dict(inputs.quality),
        teacher=inputs.teacher,
        recipe=inputs.recipe,
        provenance=inputs.provenance,
        privacy=inputs.privacy,
        segments=inputs.segments,
    )


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise BundleError(f"{source} is missing: export the model first")
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for file in files:
        write_durably(target / file.relative_to(source) if file != source else target, file.read_bytes())


def _entries(folder: Path) -> dict[str, FileEntry]:
    """Size and hash of every file, in the order of their names."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: FileEntry(path.stat().st_size, sha256_of(path)) for name, path in files}
