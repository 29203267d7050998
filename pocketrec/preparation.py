"""The step that prepares the event log and finds the segments of its people."""

import hashlib

from contracts.errors import DataError
from contracts.project import COMPLETEJOURNEY
from pocketrec.project_file import ProjectFile
from pocketrec.run_directory import RunDirectory
from pocketrec.steps import Step, StepContext

PSEUDONYM_KEY = "pseudonym.key"


def _pseudonym_key(file: ProjectFile, run: RunDirectory) -> bytes:
    """The secret of the pseudonyms: the run directory's own, but for the demo's public data one made from the seed."""
    from training.pseudonym import KEY_BYTES, key_from_seed

    if file.project.data.source == COMPLETEJOURNEY:
        return key_from_seed(file.project.project.seed)
    return run.secret(PSEUDONYM_KEY, KEY_BYTES)


def _work(context: StepContext) -> None:
    import msgspec

    from training.prepare import prepare
    from training.segments import fit_definition, save_definition

    project = msgspec.structs.replace(context.project, data=context.file.data)
    prepared = prepare(project, context.folder, _pseudonym_key(context.file, context.run), context.progress)
    context.progress("segments", 0, 1)
    save_definition(fit_definition(prepared, project.segments, project.project.seed), context.folder)
    context.progress("segments", 1, 1)


def _fingerprint(file: ProjectFile, run: RunDirectory) -> list[str]:
    """Hashes of the data files and of the key."""
    digests = [hashlib.sha256(_pseudonym_key(file, run)).hexdigest()]
    for path in file.data_files:
        try:
            with path.open("rb") as data:
                digests.append(hashlib.file_digest(data, "sha256").hexdigest())
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror}; [data] must name a CSV or Parquet file"
            ) from None
    return digests


PREPARE = Step(
    name="prepare",
    work=_work,
    sources=("training.prepare", "training.segments"),
    settings=lambda project: (
        project.data,
        project.clean,
        project.split,
        project.learning,
        project.segments,
        project.fleet.phones,
        project.project.seed,
        project.project.currency,
    ),
    fingerprint=_fingerprint,
)
