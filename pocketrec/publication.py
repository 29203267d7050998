"""The step that releases the run's bundle: into the run's repository, once, and as it then stands into its result."""

import hashlib
import shutil
from pathlib import Path

import msgspec

from contracts.errors import RunError
from export.repository import Published
from pocketrec.exporting import BUNDLE, EXPORT
from pocketrec.run_directory import RunDirectory
from pocketrec.steps import Step, StepContext

REPOSITORY, RESULT = "repository", "published.json"


def publish_once(bundle: Path, run: RunDirectory, repository: Path | None = None) -> Published:
    """Publish a bundle unless it is the newest one there.

    Args:
        bundle: its directory.
        run: whose keys sign.
        repository: by default the run's.
    """
    from export.archive import pack
    from export.repository import publish, published

    repository = repository or run.repository
    digest = hashlib.sha256(pack(bundle)).hexdigest()
    return published(repository, run.keys, digest) or publish(bundle, repository, run.keys)


def load_published(folder: Path) -> Published:
    """What the step left behind.

    Raises:
        RunError: if the folder holds no publication.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=Published)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no publication ({error}): run pocketrec publish") from None


def _work(context: StepContext) -> None:
    done = publish_once(context.inputs[EXPORT.name] / BUNDLE, context.run)
    shutil.copytree(context.run.repository, context.folder / REPOSITORY)
    (context.folder / RESULT).write_bytes(msgspec.json.encode(done))


PUBLISH = Step(name="publish", work=_work, needs=(EXPORT.name,), sources=("pocketrec.publication",))
