"""Is a directory the bundle that its manifest describes, and who signed it?"""

import hashlib
from pathlib import Path, PurePosixPath

import msgspec

from contracts import codec
from contracts.bundle import CORE_ML, FORMAT_VERSION, MANIFEST, REQUIRED_FILES, Manifest
from contracts.errors import BundleError, IntegrityError, SignatureError, WireError

SIGNATURE = "manifest.sig"
SIGNATURE_BYTES = 64  # raw Ed25519, RFC 8032
MAX_MANIFEST_BYTES = 4 * 2**20
_CHUNK_BYTES = 2**20


class _Header(msgspec.Struct, frozen=True):
    format_version: int


def decode_manifest(data: bytes) -> Manifest:
    """Decode a manifest.

    Raises:
        IntegrityError: if the bytes are no manifest, or name a file that would lie outside the bundle or twice in it.
        BundleError: if the bundle is of a format that this version does not know.
    """
    try:
        version = codec.decode(data, _Header).format_version
        if version != FORMAT_VERSION:
            raise BundleError(f"bundle has format version {version}, this version reads {FORMAT_VERSION}: update it")
        manifest = codec.decode(data, Manifest)
    except WireError as error:
        raise IntegrityError(f"{MANIFEST} is damaged: {error}") from None
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name or "\0" in name or name == ".":
            raise IntegrityError(f"{MANIFEST} names {name!r}: a bundle's file is a plain relative path inside it")
        if name in (MANIFEST, SIGNATURE):
            raise IntegrityError(f"{MANIFEST} names {name!r}: the manifest and its signature do not list themselves")
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a bundle directory; its files are not looked at.

    Raises:
        BundleError: if the directory holds no manifest, or one of an unknown format.
        IntegrityError: if the manifest is damaged.
    """
    return decode_manifest(_manifest_bytes(directory))


def verify_bundle(directory: Path) -> Manifest:
    """Check that a directory holds exactly the files its manifest describes, byte for byte.

    An `.mlpackage` is a folder: each of its files is listed on its own, so a file slipped into it is found too.

    Returns:
        The manifest.

    Raises:
        BundleError: if the directory holds no manifest, or one of an unknown format.
        IntegrityError: if a file is missing, extra, no plain file, or has another size or hash; the message names it.
    """
    manifest = read_manifest(directory)
    for name in REQUIRED_FILES:
        if name not in manifest.files:
            raise IntegrityError(f"{MANIFEST} does not list {name}, which every bundle has: build the bundle again")
    if not any(name.startswith(f"{CORE_ML}/") for name in manifest.files):
        raise IntegrityError(f"{MANIFEST} lists no file of {CORE_ML}, which every bundle has: build the bundle again")
    present = set()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{name} is no plain file: a bundle holds plain files only")
        if path.is_file() and name not in (MANIFEST, SIGNATURE):
            present.add(name)
    for name in sorted(present - manifest.files.keys()):
        raise IntegrityError(f"{name} is not listed in {MANIFEST}: remove it or build the bundle again")
    for name, entry in sorted(manifest.files.items()):
        if name not in present:
            raise IntegrityError(f"{name} is missing: {MANIFEST} lists it with {entry.bytes} bytes")
        path = directory / name
        if (size := path.stat().st_size) != entry.bytes:
            raise IntegrityError(f"{name} has {size} bytes, {MANIFEST} says {entry.bytes}: fetch the bundle again")
        if (found := sha256_of(path)) != entry.sha256:
            raise IntegrityError(f"{name} has sha256 {found}, {MANIFEST} says {entry.sha256}: fetch the bundle again")
    return manifest


def verify_signature(directory: Path, public_key: bytes) -> None:
    """Check a bundle directory's detached signature.

    Args:
        directory: the bundle.
        public_key: raw Ed25519 [32 bytes], the project's `targets` key.

    Raises:
        SignatureError: if the bundle is unsigned or signed by another key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = (directory / SIGNATURE).read_bytes()
    except FileNotFoundError:
        raise SignatureError(
            f"unsigned: {directory.name} has no {SIGNATURE}; sign it with its project's keys"
        ) from None
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _manifest_bytes(directory))
    except InvalidSignature:
        raise SignatureError(f"{SIGNATURE} does not fit {MANIFEST} and the given key: trust neither") from None


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _manifest_bytes(directory: Path) -> bytes:
    path = directory / MANIFEST
    if not path.is_file():
        raise BundleError(f"{directory} holds no {MANIFEST}: give the directory of a bundle")
    if (size := path.stat().st_size) > MAX_MANIFEST_BYTES:
        raise IntegrityError(f"{MANIFEST} has {size} bytes, at most {MAX_MANIFEST_BYTES} are allowed")
    return path.read_bytes()
