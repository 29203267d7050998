"""The step that releases the bundle: to the run's own repository, and to one that simulated phones begin with."""

from pathlib import Path

import msgspec

from contracts.errors import RunError
from export.repository import Published
from export.verify import read_manifest
from pocketrec.exporting import BUNDLE, EXPORT, newest_published
from pocketrec.run_directory import RunDirectory
from pocketrec.steps import Step, StepContext

REPOSITORY, RESULT = "repository", "published.json"


def release(bundle: Path, run: RunDirectory) -> None:
    """Publish a bundle in the run's repository, unless it or a newer one is there."""
    from export.repository import publish

    if read_manifest(bundle).bundle_version > newest_published(run):
        publish(bundle, run.repository, run.keys)


def load_published(folder: Path) -> Published:
    """What the step left behind.

    Raises:
        RunError: if the folder holds no publication.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=Published)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no publication ({error}): run pocketrec demo") from None


def _work(context: StepContext) -> None:
    from export.repository import publish

    bundle = context.inputs[EXPORT.name] / BUNDLE
    release(bundle, context.run)
    done = publish(bundle, context.folder / REPOSITORY, context.run.keys)
    (context.folder / RESULT).write_bytes(msgspec.json.encode(done))


PUBLISH = Step(name="publish", work=_work, needs=(EXPORT.name,), sources=("pocketrec.publication",))
