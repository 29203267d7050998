"""Bundle updates: only what is signed, whole, newer and answers its goldens is activated, in one rename.

    current -> bundles/<version>     the pointer; replacing it is the activation
    bundles/<version>/               the active bundle and the last good one before it
    bundles/.incoming/               what is being unpacked and checked; a power loss may leave it behind
    metadata/                        what python-tuf's client trusts by now

Power may go at any step: before the pointer is replaced the phone holds the old bundle, after it the new one. Whether
metadata has expired is judged by the machine's own clock, not by the virtual time of a fleet.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from contracts.bundle import BundleTarget, Manifest
from contracts.errors import BundleError, IntegrityError, RollbackError
from contracts.sync import BundleOffer
from device_sim.tuf_fetcher import HttpxFetcher
from export.archive import decompress, pack, unpack
from export.durable import sync_folder
from export.patch import apply_patch
from export.tuf_errors import contract_errors
from export.verify import verify_bundle

Check = Callable[[Path, Manifest], None]


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What an update did."""

    version: int
    downloaded_bytes: int  # of the patch or the whole bundle
    patched: bool


class BundleUpdater:
    """The bundles of one phone."""

    def __init__(self, directory: Path, trusted_root: bytes, http: httpx.Client, check: Check) -> None:
        """
        Args:
            directory: of this phone's bundles alone.
            trusted_root: the root metadata shipped with the app.
            http: with the server's address as base URL.
            check: raises BundleError for a bundle that is whole but does not work here.
        """
        self._directory = directory
        self._bundles = directory / "bundles"
        self._pointer = directory / "current"
        self._metadata = directory / "metadata"
        self._trusted_root = trusted_root
        self._http = http
        self._check = check
        for folder in (self._bundles, self._metadata):
            folder.mkdir(parents=True, exist_ok=True)
        self.active = self._first_good()

    @property
    def version(self) -> int:
        """Of the active bundle; 0 if there is none."""
        return int(self.active.name) if self.active else 0

    def update(self, offer: BundleOffer) -> Update | None:
        """Fetch, check and activate an offered bundle.

        Returns:
            what was done; None if the offered bundle is active already.

        Raises:
            RollbackError: if the offer or the repository's metadata is older than what is held.
            SignatureError: if metadata is not signed by keys that the phone trusts, or has expired.
            IntegrityError: if a file is not the one that the metadata names.
            BundleError: if the repository lacks the bundle, or it does not work here.
            httpx.TransportError: if the network failed; nothing has changed.
        """
        held = self.version
        if offer.version < held:
            raise RollbackError(f"bundle {offer.version} is offered, {held} is held: only newer ones are taken")
        if offer.version == held:
            return None
        with _contract_errors():
            tar, downloaded, patched = self._fetch(offer)
        self._activate(self._stage(tar, offer.version), offer.version)
        return Update(version=offer.version, downloaded_bytes=downloaded, patched=patched)

    def _fetch(self, offer: BundleOffer) -> tuple[bytes, int, bool]:
        """The tar of the offered bundle, how many bytes that took, and whether a patch was enough."""
        base_url = str(self._http.base_url).rstrip("/") + offer.repository
        updater = Updater(
            str(self._metadata),
            f"{base_url}/metadata/",
            target_base_url=f"{base_url}/targets/",
            fetcher=HttpxFetcher(self._http),
            bootstrap=self._trusted_root,
        )
        updater.refresh()
        target, whole = self._target(updater, f"bundles/{offer.version}.tar.zst")
        if target is None or whole is None or (whole.kind, whole.version) != ("bundle", offer.version):
            raise BundleError(f"bundle {offer.version} is offered, but the repository does not hold it")
        if self.active is not None:
            patch_target, patch = self._target(updater, f"patches/{self.version}-{offer.version}.zst")
            _, base = self._target(updater, f"bundles/{self.version}.tar.zst")
            if patch_target is not None and patch is not None and base is not None:
                data = self._download(updater, patch_target)
                try:
                    tar = apply_patch(
                        pack(self.active),
                        data,
                        base_sha256=base.unpacked_sha256,
                        result_sha256=whole.unpacked_sha256,
                        result_bytes=whole.unpacked_bytes,
                    )
                    return tar, len(data), True
                except IntegrityError:
                    pass  # the bundle held is another build of that version: the whole one does not need it
        data = self._download(updater, target)
        tar = decompress(data, whole.unpacked_bytes)
        if (found := hashlib.sha256(tar).hexdigest()) != whole.unpacked_sha256:
            raise IntegrityError(f"bundle {offer.version} unpacks to sha256 {found}, not {whole.unpacked_sha256}")
        return tar, len(data), False

    def _target(self, updater: Updater, path: str) -> tuple[TargetFile | None, BundleTarget | None]:
        target = updater.get_targetinfo(path)
        if target is None:
            return None, None
        try:
            return target, msgspec.convert(target.custom, BundleTarget)
        except msgspec.ValidationError as error:
            raise IntegrityError(f"target {path} is not described as a bundle or a patch: {error}") from None

    def _download(self, updater: Updater, target: TargetFile) -> bytes:
        path = self._directory / "download"
        updater.download_target(target, str(path))
        data = path.read_bytes()
        path.unlink()
        return data

    def _stage(self, tar: bytes, version: int) -> Path:
        """Unpack beside the bundles in use and check there."""
        incoming = self._bundles / ".incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        unpack(tar, incoming)
        manifest = verify_bundle(incoming)
        if manifest.bundle_version != version:
            raise IntegrityError(f"bundle {version} was promised, its manifest says {manifest.bundle_version}")
        self._check(incoming, manifest)
        return incoming

    def _activate(self, staged: Path, version: int) -> None:
        directory = self._bundles / str(version)
        if directory.exists():  # left by a power loss before the pointer was replaced, or damaged since
            shutil.rmtree(directory)
        staged.rename(directory)
        sync_folder(self._bundles)
        pointer = self._directory / ".current.new"
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(directory.relative_to(self._directory))
        pointer.replace(self._pointer)
        sync_folder(self._directory)
        last_good, self.active = self.active, directory
        for other in self._bundles.iterdir():
            if other not in (directory, last_good):
                shutil.rmtree(other)

    def _first_good(self) -> Path | None:
        """The bundle that the pointer names, or, if that is damaged, the last good one before it."""
        if not self._pointer.is_symlink():
            return None
        newest = int(self._pointer.readlink().name)
        versions = (int(path.name) for path in self._bundles.iterdir() if path.name.isdecimal())
        for version in sorted((version for version in versions if version <= newest), reverse=True):
            directory = self._bundles / str(version)
            try:
                self._check(directory, verify_bundle(directory))
            except BundleError:
                continue
            return directory
        return None


@contextmanager
def _contract_errors() -> Iterator[None]:
    """python-tuf's errors as those of the contracts, but for the network's own."""
    try:
        with contract_errors():
            yield
    except BundleError as error:
        if error.__cause__ is not None and isinstance(error.__cause__.__cause__, httpx.TransportError):
            raise error.__cause__.__cause__ from None
        raise
