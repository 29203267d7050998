"""The bundle that the server itself recommends from: the newest one published that works here.

The server is the publisher's own and reads the repository's files where they lie, so it does not judge signatures: a
phone does. All else it checks as a phone does before a bundle is used: length and hash of the archive, hash of what it
unpacks to, every file against the manifest, and the model's answers to the goldens. A bundle that fails is logged and
left; the one in use goes on, as on a phone. Where there is none yet, one whose files are whole but whose model does not
work here still says what is popular.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from contracts.errors import BundleError, IntegrityError
from export.archive import unpack_checked
from export.inference.recommender import Recommender, check_bundle
from sync_server.bundles import PublishedBundle, published_bundles

RETRY_S = 60  # a bundle that failed is tried again after so long: its file may have been put right

_log = logging.getLogger(__name__)


class ActiveBundle:
    """Loads what is published when it is first asked for, and whatever is newer when that is published."""

    def __init__(self, repository: Path, seconds: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            repository: folder of the TUF repository.
            seconds: a clock that only runs forward.
        """
        self._repository = repository
        self._seconds = seconds
        self._loading = threading.Lock()
        self._held: Recommender | None = None
        self._failed: dict[str, float] = {}  # archive's hash -> when it may be tried again

    def current(self) -> Recommender | None:
        """The bundle in use, None while none works.

        Who asks first after a publication loads the bundle; meanwhile all others get the one before.
        """
        held = self._held
        if self._newer() and self._loading.acquire(blocking=held is None):
            try:
                self._load_newest()
            finally:
                self._loading.release()
        return self._held

    def _newer(self) -> list[PublishedBundle]:
        """What could be loaded instead of the bundle in use, the newest first."""
        version = self._held.manifest.bundle_version if self._held and self._held.has_model else 0
        now = self._seconds()
        return [
            one
            for one in published_bundles(self._repository)
            if one.version > version and self._failed.get(one.sha256, now) <= now
        ]

    def _load_newest(self) -> None:
        for one in self._newer():
            try:
                loaded = load_published(self._repository, one)
            except (BundleError, OSError) as error:
                _log.error("bundle %d is not used: %s", one.version, error)
            else:
                if loaded.has_model:
                    self._held = loaded
                    self._failed.clear()
                    return
                self._held = self._held or loaded
            self._failed[one.sha256] = self._seconds() + RETRY_S


def load_published(repository: Path, published: PublishedBundle) -> Recommender:
    """Check a published bundle and make it ready to be asked; if its model does not work here, without it.

    Raises:
        BundleError: if its archive or a file is not what the repository says, or its catalogue cannot be read.
        OSError: if it cannot be read, or there is no room to unpack it.
    """
    data = (repository / published.path).read_bytes()
    if (len(data), hashlib.sha256(data).hexdigest()) != (published.bytes, published.sha256):
        raise IntegrityError(f"{published.path} is not the file that the repository names: publish it again")
    with TemporaryDirectory(prefix="pocketrec-bundle-") as folder:  # what is loaded stays in memory
        directory = Path(folder, "bundle")
        manifest = unpack_checked(data, published.target, directory)
        try:
            check_bundle(directory, manifest)
            return Recommender(directory, manifest)
        except BundleError as error:
            _log.error("the model of bundle %d is not used: %s", published.version, error)
            return Recommender(directory, manifest, with_model=False)
