"""A bundle of a run: the model's artifacts with the catalogue, what was measured and where all comes from, signed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from contracts.bundle import ArtifactQuality, Manifest, Provenance
from contracts.project import Project
from contracts.segments import SegmentDefinition
from federated.ledger import LedgerEntry
from pocketrec.model_steps import COMPRESS, TRAIN
from pocketrec.preparation import PREPARE
from pocketrec.private_steps import base_model_statement
from pocketrec.run_directory import RunDirectory
from pocketrec.steps import StepContext
from training.prepared import Prepared
from training.protocols import TASKS
from training.segments import Segments, fit_segments
from training.split import TEST

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from export.catalogue import CatalogueContents

TEACHER = "teacher"

POPULAR = 200  # items of a segment's list: what an app may show to somebody without a history
PACKAGES = ("numpy", "torch", "tensorflow", "tf-keras", "tensorflow-model-optimization", "coremltools", "tf2onnx")


def catalogue_contents(prepared: Prepared, segments: Segments) -> "CatalogueContents":
    """The items, and what is popular over all and in each segment: what central people took outside the test part."""
    from export.catalogue import EVERYONE, CatalogueContents, CatalogueItem

    items = prepared.items
    popularity = {EVERYONE: _popular(prepared, np.arange(len(prepared.pseudonym)))}
    popularity |= {
        name: _popular(prepared, np.flatnonzero(segments.person == code))
        for code, name in enumerate(segments.names, start=1)
    }
    return CatalogueContents(
        items=[
            CatalogueItem(item_id=item, category=category or None, price_minor=int(price) or None)
            for item, category, price in zip(
                items.item_id[1:], items.category[1:], items.price_minor[1:].tolist(), strict=True
            )
        ],
        popularity=popularity,
        currency=prepared.record.currency,
    )


def _popular(prepared: Prepared, people: np.ndarray) -> list[int]:
    """Items by how many of these people had them outside the test part; phones' households are never among them.

    A person counts by their weightiest event with the item: who only looked at it is a small part of a buyer.
    """
    events, size = prepared.events, len(prepared.items.item_id)
    chosen = np.zeros(len(prepared.pseudonym), bool)
    chosen[people] = True
    chosen &= ~prepared.is_phone
    rows = chosen[events.person] & (prepared.basket_split[events.basket] != TEST)
    pairs, pair = np.unique(events.person[rows].astype(np.int64) * size + events.item[rows], return_inverse=True)
    weightiest = np.zeros(len(pairs))
    np.maximum.at(weightiest, pair, prepared.event_weight[events.event[rows]])
    people_worth = np.bincount(pairs % size, weightiest, minlength=size)
    ranked = np.lexsort((np.arange(size), -people_worth))
    return [int(item) for item in ranked[:POPULAR] if people_worth[item] and item]


@dataclass(frozen=True)
class Central:
    """What was made of the log centrally, as every bundle states it."""

    project: Project
    prepared: Prepared
    segments: Segments
    baselines: dict[str, ArtifactQuality]
    teacher: ArtifactQuality

    @classmethod
    def load(cls, context: StepContext) -> "Central":
        """What `prepare`, `train` and `compress` left; the log under the numbering of the device model."""
        from compression.coding import load_prepared_as
        from pocketrec.artifact_quality import as_quality
        from training.people_quality import load_people_quality

        project = context.project
        prepared = load_prepared_as(context.inputs[PREPARE.name], context.inputs[COMPRESS.name])
        seed = project.project.seed
        stated = {
            name: as_quality(metrics, "PyTorch" if name == TEACHER else "NumPy and SciPy", seed)
            for name, metrics in load_people_quality(context.inputs[TRAIN.name]).items()
        }
        teacher = stated.pop(TEACHER)
        return cls(project, prepared, fit_segments(prepared, seed), stated, teacher)


def build_signed_bundle(
    central: Central,
    run: RunDirectory,
    compressed: Path,
    model: "DeviceModel",
    artifacts: Path,
    quality: Mapping[str, ArtifactQuality],
    version: int,
    out: Path,
    charged: Sequence[LedgerEntry] = (),
) -> Manifest:
    """Build a bundle and sign it with the run's keys, which are made where they are missing.

    Args:
        central: catalogue, baselines and origin.
        run: whose keys sign.
        compressed: folder of the device model as saved.
        model: the same, loaded.
        artifacts: its shipped artifacts.
        quality: of these, measured.
        version: of the bundle.
        out: where it will stand.
        charged: what the ledger charged for the adapter that the model carries.
    """
    from compression.checkpoint import load_saved_spec
    from export.bundle import BundleInputs, build_bundle
    from export.keys import create_keys, sign_manifest
    from federated.coverage import privacy_statement

    saved, project = load_saved_spec(compressed), central.project
    manifest = build_bundle(
        BundleInputs(
            project=project.project.name,
            bundle_version=version,
            model=model,
            model_version=saved.model_version,
            artifacts=artifacts,
            catalogue=catalogue_contents(central.prepared, central.segments),
            quality=quality,
            teacher=central.teacher,
            task=TASKS[central.prepared.record.protocol],
            baselines=central.baselines,
            recipe=saved.recipe,
            origin=central.prepared.record.origin,
            provenance=_provenance(central),
            privacy=privacy_statement(charged, project.federated.delta, base_model_statement(run, project)),
            seed=project.project.seed,
            segments=_rule(central.prepared.segments),
        ),
        out,
    )
    create_keys(run.keys)
    sign_manifest(out, run.keys)
    return manifest


def _rule(definition: SegmentDefinition | None) -> SegmentDefinition | None:
    """What gives a person their segment, without the counts of people that it was found by."""
    return definition and msgspec.structs.replace(
        definition, people=(), considered=(), silhouette=None, davies_bouldin=None
    )


def _provenance(central: Central) -> Provenance:
    """Hashes of the data and of the settings that made the model, and versions of the packages that did."""
    project = central.project
    settings = (
        project.project,
        project.data,
        project.clean,
        project.split,
        project.learning,
        project.segments,
        project.model,
        project.teacher,
        project.next_item,
        project.privacy,
        project.compression,
        project.fleet,
    )
    return Provenance(
        data_sha256=central.prepared.record.data_sha256,
        config_sha256=hashlib.sha256(msgspec.json.encode(settings, order="deterministic")).hexdigest(),
        packages={name: version_of(name) for name in PACKAGES},
    )
