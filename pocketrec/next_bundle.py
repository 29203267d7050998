"""The steps that keep phones alive: a warm start of the device model on newer weeks, and its way to the phones."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from contracts.bundle import TFLITE, ArtifactQuality
from contracts.errors import CheckFailed, RunError
from device_sim.phone import TimelineEntry
from export.repository import Published
from export.verify import read_manifest
from pocketrec import next_item_steps
from pocketrec.exporting import ARTIFACTS, BUNDLE, EXPORT, convert, newest_published
from pocketrec.federation import FEDERATE, HELD_OUT_PEOPLE, load_federation
from pocketrec.model_settings import compress_settings
from pocketrec.model_steps import COMPRESS, TRAIN
from pocketrec.preparation import PREPARE
from pocketrec.publication import release
from pocketrec.steps import Step, StepContext
from pocketrec.world import World

MODEL, REFRESHED, RESULT = "model", "refreshed.json", "rollout.json"
MAX_SYNCS = 10  # of each phone, until all hold the next bundle; at one lost answer in ten, two are seldom needed


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """How the next bundle reached the phones."""

    published: Published
    patched: int  # phones that needed the patch only
    whole: int  # phones that fetched all of it
    quality: ArtifactQuality  # of its model.tflite, on held-out people
    before: ArtifactQuality  # of the bundle before, on the same people
    timelines: dict[str, tuple[TimelineEntry, ...]]  # login -> what its phone lived through meanwhile


def load_rollout(folder: Path) -> Rollout:
    """What the step left behind.

    Raises:
        RunError: if the folder holds no rollout.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=Rollout)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no rollout ({error}): run pocketrec demo") from None


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of both bundles' model.tflite on the same held-out people."""

    quality: ArtifactQuality
    before: ArtifactQuality


def _refresh(context: StepContext) -> None:
    from compression.checkpoint import load_device_model
    from compression.compress import warm_start
    from export.runtimes import open_evaluator
    from pocketrec.artifact_quality import as_quality, evaluate_artifacts, test_task
    from pocketrec.bundling import Central, build_signed_bundle
    from training.prepared import load_prepared

    project, seed = context.project, context.project.project.seed
    first = context.inputs[EXPORT.name] / BUNDLE
    federation = load_federation(context.inputs[FEDERATE.name])
    central = Central.load(context)
    prepared = load_prepared(context.inputs[PREPARE.name])
    with tempfile.TemporaryDirectory(prefix="pocketrec-refresh-") as temporary:
        start, shipped = context.inputs[COMPRESS.name], Path(temporary, "shipped")
        if federation.gate.published:
            start = _with_adapter(start, first, federation.report.adapter_after, Path(temporary, "federated"))
        folder = context.folder / MODEL
        folder.mkdir()
        if next_item_steps.is_next_item(project):
            next_item_steps.warm_start(context, prepared, start, folder)
        else:
            warm_start(
                prepared,
                context.inputs[TRAIN.name],
                start,
                folder,
                compress_settings(project),
                seed,
                context.progress,
            )
        model = load_device_model(folder)
        convert(model, {"shipped": (shipped, ARTIFACTS)}, context.progress)
        task = test_task(central.prepared, central.segments, model.spec.history_length)
        evaluators = {"next": open_evaluator(shipped / TFLITE), "before": open_evaluator(first / TFLITE)}
        held_out = task.of_some_people(HELD_OUT_PEOPLE, seed)
        found = evaluate_artifacts(evaluators, held_out, context.progress)
        people = f"on {HELD_OUT_PEOPLE} of the test people"
        stated = {name: as_quality(each, f"{evaluators[name].name}, {people}", seed) for name, each in found.items()}
        build_signed_bundle(
            central,
            context.run,
            folder,
            model,
            shipped,
            {TFLITE: stated["next"]},
            max(newest_published(context.run), read_manifest(first).bundle_version) + 1,
            context.folder / BUNDLE,
            federation.ledger if federation.gate.published else (),
        )
    result = Refreshed(quality=stated["next"], before=stated["before"])
    (context.folder / REFRESHED).write_bytes(msgspec.json.encode(result))


def _with_adapter(compressed: Path, bundle: Path, adapter: bytes, folder: Path) -> Path:
    """A copy of a device model that carries the adapter of published rounds."""
    import numpy as np

    from compression.checkpoint import load_device_model, load_saved_spec, save_device_model
    from pocketrec.adapter_gate import split_adapter

    values = split_adapter(read_manifest(bundle).adapter, np.frombuffer(adapter, "<f4"))
    shutil.copytree(compressed, folder)
    model = load_device_model(compressed).frozen("shipped", values)
    save_device_model(model, folder, load_saved_spec(compressed).recipe)
    return folder


def _roll_out(context: StepContext) -> None:
    from export.repository import publish

    bundle = context.inputs[REFRESH.name] / BUNDLE
    world = World.go_on(
        context.inputs[FEDERATE.name], context.folder, context.run, context.project, context.inputs[PREPARE.name]
    )
    published = publish(bundle, world.repository, context.run.keys)
    release(bundle, context.run)
    with world.fleet() as fleet:
        for member in fleet.members:
            member.network.online = True
        for _ in range(MAX_SYNCS):
            moved = sum(phone.device.updater.version == published.version for phone in fleet.phones)
            context.progress("phones on the next bundle", moved, len(fleet.phones))
            if moved == len(fleet.phones):
                break
            fleet.sync_all()
        else:
            raise CheckFailed(
                f"{len(fleet.phones) - moved} phones do not take bundle {published.version}: see {bundle}"
            )
        updates = [update for phone in fleet.phones for update in phone.device.bundle_updates]
        timelines = {phone.household.login: tuple(phone.device.timeline) for phone in fleet.phones}
    refreshed = msgspec.json.decode((context.inputs[REFRESH.name] / REFRESHED).read_bytes(), type=Refreshed)
    result = Rollout(
        published=published,
        patched=sum(update.patched for update in updates),
        whole=sum(not update.patched for update in updates),
        quality=refreshed.quality,
        before=refreshed.before,
        timelines=timelines,
    )
    (context.folder / RESULT).write_bytes(msgspec.json.encode(result))


REFRESH = Step(
    name="refresh",
    work=_refresh,
    needs=(PREPARE.name, TRAIN.name, COMPRESS.name, EXPORT.name, FEDERATE.name),
    sources=("pocketrec.next_bundle", "compression.compress"),
    settings=lambda project: (project.model, project.compression, project.project, project.federated.delta),
)
ROLL_OUT = Step(
    name="rollout",
    work=_roll_out,
    needs=(PREPARE.name, FEDERATE.name, REFRESH.name),
    sources=("pocketrec.next_bundle", "sync_server.__main__", "sync_server.app"),
    settings=lambda project: (project.fleet, project.project),
)
