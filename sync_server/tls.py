"""TLS of the server itself: the operator's certificate, or one that it makes for itself.

A certificate of the server's own is made once and kept, so that a phone can pin it by its fingerprint: nobody vouches
for it but whoever tells the phone that fingerprint.
"""

import hashlib
import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from contracts.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE, KEY = "tls-certificate.pem", "tls-key.pem"
VALID_DAYS = 3650  # a pin is meant to last: a new certificate is a new fingerprint
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PEM files: the certificate with those that vouch for it, and its key."""

    certificate: str
    key: str


PROXIED = "proxied"
Tls = TlsFiles | Literal["auto", "self-signed", "proxied"]
"""Files; a certificate of the server's own; plain HTTP, because a proxy in front speaks TLS; or automatically: plain
HTTP where only this machine can reach the server, its own certificate everywhere else."""


def files_for(tls: Tls, host: str, folder: Path) -> TlsFiles | None:
    """The files to serve with; None for plain HTTP.

    Args:
        tls: what the settings say.
        host: the address to listen on.
        folder: where the server's own certificate lies, or is made.

    Raises:
        ConfigError: if a file is missing.
    """
    if tls == PROXIED or (tls == "auto" and _is_loopback(host)):
        return None
    if not isinstance(tls, TlsFiles):
        return self_signed(folder, host)
    for path in (tls.certificate, tls.key):
        if not Path(path).is_file():
            raise ConfigError(f"TLS file {path} is missing: name a PEM file that the server may read")
    return tls


def self_signed(folder: Path, host: str) -> TlsFiles:
    """The server's own certificate and key, made at first use."""
    certificate, key = folder / CERTIFICATE, folder / KEY
    if not (certificate.exists() and key.exists()):
        key_pem, certificate_pem = _make(_names(host))
        _write_privately(key, key_pem)
        _write_privately(certificate, certificate_pem)
    return TlsFiles(certificate=str(certificate), key=str(key))


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the first certificate in a PEM file, over its DER bytes, in hexadecimal: what a phone pins.

    Raises:
        ConfigError: if the file holds no certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        first = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError as error:
        raise ConfigError(f"TLS file {certificate} holds no certificate ({error}): give one in PEM") from None
    return hashlib.sha256(first.public_bytes(Encoding.DER)).hexdigest()


def _make(names: list[str]) -> tuple[bytes, bytes]:
    """Key and certificate in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())  # the curve that every phone's TLS knows
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pocketrec sync server")])
    now = datetime.now(UTC)
    alternatives = x509.SubjectAlternativeName([_general_name(one) for one in names])
    unused = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, encipher_only=False, decipher_only=False, **unused
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # a phone's clock may be behind
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)  # it vouches for itself alone
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, certificate.public_bytes(Encoding.PEM)


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(host: str) -> list[str]:
    """What clients may call the server: this machine's names, and the address it listens on."""
    hostname = socket.gethostname()
    return list(dict.fromkeys([*LOOPBACK, *([hostname] if hostname.isascii() else []), host]))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _write_privately(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by its owner only."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
