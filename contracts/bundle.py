"""The bundle's manifest: what a phone must know before it loads a model."""

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from contracts.segments import SegmentDefinition

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
CATALOGUE = "catalogue.sqlite"
GOLDENS = "goldens.json"
TFLITE = "model.tflite"
TRAINABLE_TFLITE = "model.train.tflite"
ONNX = "model.onnx"
CORE_ML = "model.mlpackage"
MODEL_CARD = "MODEL_CARD.md"
REPORT = "report.html"
REQUIRED_FILES = (TFLITE, TRAINABLE_TFLITE, ONNX, CATALOGUE, GOLDENS, MODEL_CARD, REPORT)  # and CORE_ML, a folder

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class FileEntry(msgspec.Struct, frozen=True):
    bytes: Annotated[int, Meta(ge=0)]
    sha256: Sha256


class TensorSpec(msgspec.Struct, frozen=True):
    name: str
    dtype: Literal["int32", "float32"]
    shape: tuple[int, ...]


class Signature(msgspec.Struct, frozen=True):
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


WISH = "wish"  # the context field by which an app asks for anything or only for what the history lacks
WISHES = {"anything": 1, "new": 2}

DeviceClass = Literal["phone", "tablet", "till", "web"]
DEVICE_CLASSES: tuple[DeviceClass, ...] = get_args(DeviceClass)  # codes of the context field from 1, in this order


class ContextField(msgspec.Struct, frozen=True):
    """One column of the model's `context` input."""

    name: str
    size: Annotated[int, Meta(ge=1)]  # codes run from 0 to size - 1; 0 is unknown
    codes: dict[str, int] = {}


class Estimate(msgspec.Struct, frozen=True):
    """A statistic with its 95 % bootstrap interval over people."""

    value: float
    low: float
    high: float


class ArtifactQuality(msgspec.Struct, frozen=True):
    """Measured quality of one artifact; latency is a host's, not a model's, and stands in the run's report."""

    evaluator: str  # for instance "LiteRT 2.1.6" or "Core ML reference evaluator"
    ndcg_at_10: Estimate | None = None
    new_items_ndcg_at_10: Estimate | None = None


class Provenance(msgspec.Struct, frozen=True):
    data_sha256: Sha256
    config_sha256: Sha256
    packages: dict[str, str]


class PrivacyStatement(msgspec.Struct, frozen=True, kw_only=True):
    """Which people a published epsilon covers, and which not."""

    base_model: str
    statistics: str
    epsilon: float | None = None
    delta: float | None = None
    rounds: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format_version: int = FORMAT_VERSION
    bundle_version: Annotated[int, Meta(ge=1)]
    project: str
    model_version: Sha256  # of the module's weights as rounded to their grid
    catalogue_version: Sha256
    items: Annotated[int, Meta(ge=1)]
    history_length: Annotated[int, Meta(ge=1)]  # L
    candidates: Annotated[int, Meta(ge=1)]  # K
    half_life_hours: int
    event_codes: dict[str, int]
    context: tuple[ContextField, ...]
    signatures: dict[str, Signature]  # recommend, train, get_weights, set_weights
    adapter: dict[str, tuple[int, ...]]  # name -> shape, in the order of the flat vector
    files: dict[str, FileEntry]
    quality: dict[str, ArtifactQuality]
    teacher: ArtifactQuality
    recipe: str
    provenance: Provenance
    privacy: PrivacyStatement
    segments: SegmentDefinition | None = None  # the rule that gives a person the segment of `context`


class GoldenHistory(msgspec.Struct, frozen=True):
    """A synthetic input of `recommend`, without padding; never a person's."""

    name: str
    items: tuple[int, ...]
    events: tuple[int, ...]
    counts: tuple[float, ...]
    ages: tuple[float, ...]
    context: tuple[int, ...]


class GoldenAnswer(msgspec.Struct, frozen=True):
    items: tuple[int, ...]
    scores: tuple[float, ...]


class Goldens(msgspec.Struct, frozen=True, kw_only=True):
    histories: tuple[GoldenHistory, ...]
    answers: dict[str, tuple[GoldenAnswer, ...]]  # artifact -> one answer per history
    tolerance: float  # largest allowed absolute score error on another processor


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """Answers `POST /v1/bundles`, which staff send with the role `publish`: a tar of a TUF repository's files."""

    bundle_version: Annotated[int, Meta(ge=0)]  # the newest that the server offers from now on
    added: Annotated[int, Meta(ge=0)]  # files that it did not have before; 0 if all had come already


class BundleTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The `custom` field of a TUF target: what the file is."""

    kind: Literal["bundle", "patch"]
    version: int
    base_version: int | None = None  # of a patch
    unpacked_sha256: Sha256  # of the tar that the file decompresses or patches to
    unpacked_bytes: int
