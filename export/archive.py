"""A bundle as one file: a tar that depends on nothing but the bundle's bytes, compressed with zstd.

The manifest comes first, so that whoever unpacks knows every other member's name and size before reading it. The tar of
an unpacked bundle is the tar it came from: a phone keeps no second copy of a bundle to apply a patch to it.
"""

import hashlib
import io
import tarfile
from pathlib import Path

import zstandard

from contracts.bundle import MANIFEST, BundleTarget, Manifest
from contracts.errors import IntegrityError
from export.durable import sync_folder, write_synced
from export.verify import MAX_MANIFEST_BYTES, SIGNATURE, SIGNATURE_BYTES, decode_manifest, read_manifest, verify_bundle

LEVEL = 19  # the highest of zstd that needs no more memory to decompress


def pack(directory: Path) -> bytes:
    """The tar of a bundle directory: manifest, signature if there is one, then the listed files by name.

    The same files give the same bytes, whoever owns them and whenever they were written.

    Raises:
        BundleError: if the directory holds no manifest, or one of an unknown format.
        IntegrityError: if the manifest is damaged or a listed file is missing.
    """
    names = [MANIFEST, *([SIGNATURE] if (directory / SIGNATURE).exists() else [])]
    names += sorted(read_manifest(directory).files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            try:
                data = (directory / name).read_bytes()
            except FileNotFoundError:
                raise IntegrityError(f"{name} is missing: {MANIFEST} lists it") from None
            member = tarfile.TarInfo(name)  # mtime, uid, gid and their names are zero and empty by default
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def compress(tar: bytes) -> bytes:
    """The tar as one zstd frame; one thread, so that the bytes do not depend on the machine."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True).compress(tar)


def decompress(data: bytes, unpacked_bytes: int) -> bytes:
    """The tar of a compressed bundle.

    Args:
        data: what `compress` gave.
        unpacked_bytes: the size that the frame must have and cannot exceed.

    Raises:
        IntegrityError: if the data is no zstd frame of exactly that size.
    """
    try:
        size = zstandard.frame_content_size(data)
        if size != unpacked_bytes:
            raise IntegrityError(f"the archive unpacks to {size} bytes, its repository says {unpacked_bytes}")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=unpacked_bytes)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"the archive is no whole zstd frame: {error}") from None


def unpack(tar: bytes, destination: Path) -> Manifest:
    """Unpack a bundle's tar into a new directory, durably, and nowhere else.

    Only the members that the manifest lists are written, each a plain file of the listed size; hashes are left to
    `export.verify.verify_bundle`, which looks at what really lies on the disk.

    Returns:
        The manifest.

    Raises:
        IntegrityError: if the tar is damaged, does not begin with a manifest, or holds a member that is a link, lies
            outside, comes twice, has another size than listed, or is missing.
    """
    destination.mkdir(parents=True)
    folders = {destination}
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_MANIFEST_BYTES:
                raise IntegrityError(f"the archive does not begin with a {MANIFEST} of a bundle")
            manifest_bytes = _read(archive, first)
            manifest = decode_manifest(manifest_bytes)
            write_synced(destination / MANIFEST, manifest_bytes)
            missing = {name: entry.bytes for name, entry in manifest.files.items()}
            sizes = {SIGNATURE: SIGNATURE_BYTES} | missing
            while member := archive.next():
                size = sizes.pop(member.name, None)  # popped: a second member of the same name is unknown
                if size is None or not member.isreg() or member.size != size:
                    raise IntegrityError(
                        f"the archive holds {member.name!r} with {member.size} bytes: only the plain files that "
                        f"{MANIFEST} lists are allowed, each once and with its size"
                    )
                path = destination / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.update(parent for parent in path.parents if parent.is_relative_to(destination))
                write_synced(path, _read(archive, member))
                missing.pop(member.name, None)
    except tarfile.TarError as error:
        raise IntegrityError(f"the archive is no whole tar: {error}") from None
    for name in missing:
        raise IntegrityError(f"the archive lacks {name}, which its {MANIFEST} lists")
    for folder in folders:
        sync_folder(folder)
    return manifest


def unpack_checked(data: bytes, target: BundleTarget, destination: Path) -> Manifest:
    """Unpack a compressed bundle and check that it is the one that its repository describes, file by file.

    Args:
        data: what `compress` gave.
        target: the repository's description.
        destination: a new directory.

    Raises:
        IntegrityError: if it is not.
        BundleError: if the bundle is of a format that this version does not know.
    """
    tar = decompress(data, target.unpacked_bytes)
    if (found := hashlib.sha256(tar).hexdigest()) != target.unpacked_sha256:
        raise IntegrityError(f"bundle {target.version} unpacks to sha256 {found}, not {target.unpacked_sha256}")
    unpack(tar, destination)
    manifest = verify_bundle(destination)
    if manifest.bundle_version != target.version:
        raise IntegrityError(f"bundle {target.version} was promised, its manifest says {manifest.bundle_version}")
    return manifest


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise IntegrityError(f"the archive ends within {member.name}")
    return data
