"""The step that converts the device model, holds every artifact against it, and builds the signed bundle."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from contracts.bundle import CORE_ML, ONNX, TFLITE, TRAINABLE_TFLITE, Estimate
from contracts.errors import CheckFailed, RunError
from export.exporter import Precision
from export.latency import Latency, measure_latency
from export.parity import Parity
from export.runtimes import Evaluator
from pocketrec.model_steps import COMPRESS, TRAIN
from pocketrec.preparation import PREPARE
from pocketrec.run_directory import RunDirectory
from pocketrec.steps import Step, StepContext

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from pocketrec.artifact_quality import Task

BUNDLE, RESULT = "bundle", "export.json"
COMPARED = (TFLITE, ONNX, CORE_ML)  # for parity
EVALUATED = (TFLITE, ONNX)  # on all test baskets; Core ML's reference evaluator takes too long for them
TIMED = (TFLITE, TRAINABLE_TFLITE, ONNX)
ARTIFACTS = (*TIMED, CORE_ML)
PARITY_HISTORIES = 200
SAME_TOP_10_BAR = 0.99  # share of histories on which an fp32 export must rank as the device model does

Progress = Callable[[str, int, int], None]


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One file or folder of the bundle."""

    bytes: int
    zstd_bytes: int  # as it travels: where pruned weights pay, for they make no call faster
    evaluator: str
    latency_ms: Latency | None = None  # of one `recommend` on one thread of `Export.host`; None: not timed


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What the step measured; the quality of people lies beside it."""

    bundle_version: int
    artifacts: dict[str, Artifact]
    fp32_bytes: dict[str, int]  # the same artifacts with every weight a float32
    host: str
    parity: Parity
    ndcg_loss: dict[str, Estimate]  # of shipped artifacts on the parity histories: fp32's NDCG@10 minus theirs, paired


def load_export(folder: Path) -> Export:
    """What the step left behind.

    Raises:
        RunError: if the folder holds no export.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=Export)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no export ({error}): run pocketrec export") from None


def check_parity(export: Export) -> None:
    """Raises CheckFailed if an fp32 export ranks otherwise than the device model."""
    for name, found in export.parity.fp32.items():
        if found.same_top_10 < SAME_TOP_10_BAR:
            raise CheckFailed(
                f"{name} in fp32 has the device model's top 10 on {found.same_top_10:.1%} of "
                f"{export.parity.histories} histories, {SAME_TOP_10_BAR:.0%} are needed: ship none of the artifacts"
            )


def newest_published(run: RunDirectory) -> int:
    """The newest bundle version in the run's repository, 0 where there is none."""
    from sync_server.bundles import newest_bundle

    return newest_bundle(run.repository)


def _work(context: StepContext) -> None:
    from compression.checkpoint import load_device_model
    from export.latency import host
    from export.runtimes import open_evaluator
    from pocketrec.artifact_quality import as_quality, evaluate_artifacts, test_task
    from pocketrec.bundling import Central, build_signed_bundle
    from training.people_quality import save_people_quality

    seed = context.project.project.seed
    central = Central.load(context)
    model = load_device_model(context.inputs[COMPRESS.name])
    task = test_task(central.prepared, central.segments, model.spec.history_length)
    with tempfile.TemporaryDirectory(prefix="pocketrec-export-") as temporary:
        shipped, fp32 = Path(temporary, "shipped"), Path(temporary, "fp32")
        convert(model, {"shipped": (shipped, ARTIFACTS), "fp32": (fp32, COMPARED)}, context.progress)
        evaluators = {name: open_evaluator(shipped / name) for name in ARTIFACTS}
        compared = task.one_of_each(PARITY_HISTORIES, seed)
        feeds = list(compared.anything.feeds())
        artifacts = {
            name: Artifact(
                bytes=size_of(shipped / name),
                zstd_bytes=_compressed(shipped / name),
                evaluator=evaluator.name,
                latency_ms=measure_latency(evaluator, feeds) if name in TIMED else None,
            )
            for name, evaluator in evaluators.items()
        }
        parity, ndcg_loss = _parity(model, compared, fp32, evaluators, seed, context.progress)
        _check_adapter(model, shipped / TRAINABLE_TFLITE)
        fp32_bytes = {name: size_of(fp32 / name) for name in COMPARED}
        metrics = evaluate_artifacts({name: evaluators[name] for name in EVALUATED}, task, context.progress)
        save_people_quality(context.folder, metrics)
        context.progress("bundle", 0, 1)
        manifest = build_signed_bundle(
            central,
            context.run,
            context.inputs[COMPRESS.name],
            model,
            shipped,
            {name: as_quality(found, evaluators[name].name, seed) for name, found in metrics.items()},
            newest_published(context.run) + 1,
            context.folder / BUNDLE,
        )
        context.progress("bundle", 1, 1)
    result = Export(
        bundle_version=manifest.bundle_version,
        artifacts=artifacts,
        fp32_bytes=fp32_bytes,
        host=host(),
        parity=parity,
        ndcg_loss=ndcg_loss,
    )
    (context.folder / RESULT).write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))


def convert(model: "DeviceModel", wanted: Mapping[Precision, tuple[Path, Sequence[str]]], progress: Progress) -> None:
    """Write artifacts of some precisions, each into a folder of its own that is made here."""
    from export.artifacts import exporters

    total, done = sum(len(names) for _, names in wanted.values()), 0
    for precision, (folder, names) in wanted.items():
        folder.mkdir()
        for name in names:
            progress("artifacts", done, total)
            exporters()[name].export(model, folder / name, precision)
            done += 1
    progress("artifacts", total, total)


def _parity(
    model: "DeviceModel", task: "Task", fp32: Path, evaluators: Mapping[str, Evaluator], seed: int, progress: Progress
) -> tuple[Parity, dict[str, Estimate]]:
    """Ranks and scores against the device model, and what the shipped artifacts lose in NDCG on the same histories."""
    from export.parity import measure_parity
    from export.runtimes import open_evaluator
    from pocketrec.artifact_quality import Recorded, ndcg_of
    from training.evaluation import by_person, estimate

    exact = {name: Recorded(open_evaluator(fp32 / name)) for name in COMPARED}
    shipped = {name: Recorded(evaluators[name]) for name in COMPARED}
    parity = measure_parity(
        model, task.anything.feeds(), exact, shipped, lambda done: progress("parity", done, len(task.cases))
    )

    def people(recorded: Recorded) -> np.ndarray:
        return by_person(ndcg_of(recorded.tops, task.cases), task.cases.person, task.people)

    return parity, {name: estimate(people(exact[name]) - people(shipped[name]), seed) for name in COMPARED}


def _check_adapter(model: "DeviceModel", path: Path) -> None:
    """Raises CheckFailed unless get_weights of the trainable artifact returns the float adapter bit for bit."""
    from export.inference.runtime import load_interpreter

    found = load_interpreter(path).get_signature_runner("get_weights")(ask=np.int32(0))
    for name, value in model.adapter_values().items():
        if found[name].tobytes() != value.tobytes():
            raise CheckFailed(
                f"get_weights of {path.name} returns other bits of {name} than the model has: do not ship it"
            )


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _compressed(path: Path) -> int:
    from export.archive import compress

    return sum(len(compress(file.read_bytes())) for file in _files(path))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]


EXPORT = Step(
    name="export",
    work=_work,
    needs=(PREPARE.name, TRAIN.name, COMPRESS.name),
    sources=("pocketrec.exporting",),
    settings=lambda project: (project.project, project.model, project.federated.delta),
)
