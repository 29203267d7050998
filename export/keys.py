"""The project's signing keys: one Ed25519 key per TUF role, each in its own PEM file that only its owner can read.

`root` and `targets` decide what phones trust and belong on a machine that is seldom online; `snapshot` and `timestamp`
only say what is newest and are needed wherever the repository is refreshed.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner

from contracts.bundle import MANIFEST
from contracts.errors import ConfigError
from export.durable import PRIVATE, write_durably
from export.verify import SIGNATURE, read_manifest

ROLES = ("root", "targets", "snapshot", "timestamp")
PUBLIC_KEY = "targets.pub"  # what `verify_signature` wants, for whoever checks a bundle without a repository
ROOT_PUBLIC_KEY = "root.pub"  # what a publisher holds the repository's root metadata against
_OTHERS = 0o077


def create_keys(keys_dir: Path) -> None:
    """Make the keys that are missing, each with its public half beside it; those that exist stay."""
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for role in ROLES:
        private, public = keys_dir / f"{role}.pem", keys_dir / f"{role}.pub"
        if not private.exists() and not public.exists():  # a public half alone: the private one is kept elsewhere
            write_durably(private, CryptoSigner.generate_ed25519().private_bytes, mode=PRIVATE)
        if not public.exists():
            key = _private_key(keys_dir, role).public_key()
            write_durably(public, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def signer_of(keys_dir: Path, role: str) -> CryptoSigner:
    """The signer of a role.

    Raises:
        ConfigError: if the key is missing, no Ed25519 key, or readable by others.
    """
    return CryptoSigner(_private_key(keys_dir, role))


def load_public_key(path: Path) -> bytes:
    """Raw Ed25519 public key [32 bytes] of a PEM file.

    Raises:
        ConfigError: if the file is missing or holds no Ed25519 public key.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError):
        raise ConfigError(f"{path} holds no public key: give the {PUBLIC_KEY} of the project's keys") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} holds another kind of key: give the Ed25519 {PUBLIC_KEY} of the project's keys")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign_manifest(directory: Path, keys_dir: Path) -> Path:
    """Sign a bundle directory's manifest, and so every file it lists, with the `targets` key.

    Returns:
        The detached signature's path.

    Raises:
        BundleError: if the directory holds no usable manifest.
        ConfigError: if the key is missing or unusable.
    """
    read_manifest(directory)
    signature = _private_key(keys_dir, "targets").sign((directory / MANIFEST).read_bytes())
    write_durably(directory / SIGNATURE, signature)
    return directory / SIGNATURE


def _private_key(keys_dir: Path, role: str) -> Ed25519PrivateKey:
    path = keys_dir / f"{role}.pem"
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(f"{path} can be read by others: chmod 600 it, and replace the key if others have seen it")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: give the folder of the project's keys") from None
    except (ValueError, TypeError):
        raise ConfigError(f"{path} holds no private key in PEM: put the project's {role} key back") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds another kind of key: put the project's Ed25519 {role} key back")
    return key
