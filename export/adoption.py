"""A publication that was made elsewhere, taken into a repository without any key.

Whoever publishes signs on a machine of their own (`export.repository.publish`) and hands over the repository's files as
a tar. They are believed as far as a phone believes them: python-tuf's client starts from the root that the repository
has, and checks signatures, expiry and that nothing is older. Then every file must be the one that is named, and each
new bundle must be whole and answer its goldens here. Only then is anything written, `timestamp.json` last.
"""

import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import msgspec
from tuf.api.exceptions import DownloadHTTPError, LengthOrHashMismatchError
from tuf.api.metadata import Metadata, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from contracts.bundle import BundleTarget
from contracts.errors import BundleError, IntegrityError, RollbackError, SignatureError
from export.archive import unpack_checked
from export.durable import write_durably
from export.inference.recommender import check_bundle
from export.repository import one_writer
from export.tuf_errors import contract_errors

TIMESTAMP = "metadata/timestamp.json"
FIRST_ROOT = "metadata/1.root.json"
MAX_FILES = 1_000  # of one tar: a publication has some ten
_NAME = re.compile(
    r"metadata/(timestamp|[0-9]{1,9}\.(root|snapshot|targets))\.json"
    r"|targets/bundles/[0-9a-f]{64}\.[0-9]+\.tar\.zst|targets/patches/[0-9a-f]{64}\.[0-9]+-[0-9]+\.zst"
)
_REMOTE = "upload://"


class Adopted(msgspec.Struct, frozen=True):
    """What a repository holds afterwards."""

    version: int  # of the newest bundle
    added: tuple[str, ...]  # files that it did not have before; none if it had come already


def adopt(upload: IO[bytes], repository: Path, announce: Callable[[int], None]) -> Adopted:
    """Take a publication into a repository.

    Args:
        upload: a plain tar of `metadata/` and `targets/` of the publisher's repository; what the repository has already
            may be left out. It is read at any place.
        repository: folder of the repository, which must have its first root.
        announce: is called with the newest bundle's version when all is well and before phones can see it.

    Raises:
        SignatureError: if the repository has no root, or what was uploaded is not signed by its keys or has expired.
        RollbackError: if it is older than what the repository holds.
        IntegrityError: if a file is missing, damaged, or not what it is named.
        GoldenError: if a new bundle does not answer its goldens here.
        BundleError: if the tar is none, or holds something else.
    """
    root = repository / FIRST_ROOT
    if not root.is_file():
        raise SignatureError(
            f"this server trusts no publisher yet: put the publisher's {FIRST_ROOT} into its repository first"
        )
    with one_writer(repository), _opened(upload) as tar, TemporaryDirectory() as folder:
        files, trusted = _Files(tar, repository), Path(folder, "trusted")
        trusted.mkdir()
        with contract_errors():
            held = _bundles(_remember(repository, trusted))
            Updater(str(trusted), f"{_REMOTE}metadata/", fetcher=_Fetcher(files), bootstrap=root.read_bytes()).refresh()
        targets = _targets(trusted)
        bundles = _bundles(targets)
        if max(bundles, default=0) < max(held, default=0):
            raise RollbackError(f"the newest bundle is {max(bundles, default=0)}, {max(held)} is published already")
        for target in targets.values():
            _check_file(target, files)
        for version in sorted(bundles.keys() - held.keys()):
            _check_works(bundles[version], files, Path(folder, str(version)))
        named = {f"targets/{target.get_prefixed_paths()[0]}" for target in targets.values()}
        added = [name for name in files.new() if name in named or name.startswith("metadata/")]
        if added:
            announce(max(bundles, default=0))
        for name in sorted(added, key=lambda name: (name == TIMESTAMP, not name.startswith("targets/"), name)):
            write_durably(repository / name, files.read(name))
    return Adopted(max(bundles, default=0), tuple(sorted(added)))


@contextmanager
def _opened(upload: IO[bytes]) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=upload, mode="r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise BundleError(f"the upload is no whole tar ({error}): send metadata/ and targets/ as one tar") from None


class _Files:
    """What was uploaded, over what the repository has."""

    def __init__(self, tar: tarfile.TarFile, repository: Path) -> None:
        self._tar = tar
        self._repository = repository
        self._members: dict[str, tarfile.TarInfo] = {}
        while member := tar.next():
            name = member.name.removeprefix("./")
            if member.isdir():
                continue
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
            if not plain or not _NAME.fullmatch(name) or len(self._members) >= MAX_FILES:
                raise BundleError(f"{name!r} is no file of a publication: send metadata/ and targets/ as one tar")
            self._members[name] = member

    def read(self, name: str) -> bytes:
        """
        Raises:
            FileNotFoundError: if the file is neither here nor there.
            IntegrityError: if the upload ends within it.
        """
        if name not in self._members:
            return (self._repository / name).read_bytes()
        member = self._members[name]
        file = self._tar.extractfile(member)
        data = file.read() if file else b""
        if len(data) != member.size:
            raise IntegrityError(f"the upload ends within {name}: send it again")
        return data

    def new(self) -> Iterator[str]:
        """The uploaded files that the repository does not have, or has otherwise."""
        for name in self._members:
            there = self._repository / name
            if not there.is_file() or there.read_bytes() != self.read(name):
                yield name


class _Fetcher(FetcherInterface):
    """Lets python-tuf's client read the files."""

    def __init__(self, files: _Files) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_REMOTE)
        try:
            yield self._files.read(name)
        except FileNotFoundError:
            raise DownloadHTTPError(f"{name} is neither uploaded nor there", 404) from None


def _remember(repository: Path, trusted: Path) -> dict[str, TargetFile]:
    """Tell python-tuf's client what the repository holds, as if it had fetched it; returns its targets."""
    metadata = repository / "metadata"
    if not (repository / TIMESTAMP).is_file():
        return {}
    timestamp = Metadata[Timestamp].from_file(str(metadata / "timestamp.json"))
    snapshot_file = metadata / f"{timestamp.signed.snapshot_meta.version}.snapshot.json"
    snapshot = Metadata[Snapshot].from_file(str(snapshot_file))
    targets_file = metadata / f"{snapshot.signed.meta['targets.json'].version}.targets.json"
    for name, file in (("timestamp", repository / TIMESTAMP), ("snapshot", snapshot_file), ("targets", targets_file)):
        shutil.copy(file, trusted / f"{name}.json")
    return _targets(trusted)


def _targets(trusted: Path) -> dict[str, TargetFile]:
    return Metadata[Targets].from_file(str(trusted / "targets.json")).signed.targets


def _bundles(targets: dict[str, TargetFile]) -> dict[int, TargetFile]:
    """The whole bundles among targets, by version."""
    described = [(_custom(target), target) for target in targets.values()]
    return {custom.version: target for custom, target in described if custom.kind == "bundle"}


def _custom(target: TargetFile) -> BundleTarget:
    try:
        return msgspec.convert(target.custom, BundleTarget)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"target {target.path} is not described as a bundle or a patch: {error}") from None


def _check_file(target: TargetFile, files: _Files) -> None:
    name = f"targets/{target.get_prefixed_paths()[0]}"
    try:
        target.verify_length_and_hashes(files.read(name))
    except FileNotFoundError:
        raise IntegrityError(f"{name} is named by the metadata and missing: upload it too") from None
    except LengthOrHashMismatchError as error:
        raise IntegrityError(f"{name} is not the file that the metadata names ({error}): upload it again") from None


def _check_works(target: TargetFile, files: _Files, directory: Path) -> None:
    data = files.read(f"targets/{target.get_prefixed_paths()[0]}")
    check_bundle(directory, unpack_checked(data, _custom(target), directory))
