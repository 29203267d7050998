"""TLS in the server itself: the certificate it makes for itself, who must trust it, and when HTTP stays plain."""

import hashlib
import socket
import ssl
import stat

import httpx
import pytest

from contracts.errors import ConfigError, SignatureError
from device_sim.pinning import pinned
from sync_server.tls import CERTIFICATE, KEY, TlsFiles, files_for, fingerprint, self_signed


def test_the_servers_own_certificate_is_made_once_and_kept_private(tmp_path):
    files = self_signed(tmp_path, "192.0.2.7")
    before = fingerprint(tmp_path / CERTIFICATE), (tmp_path / KEY).read_bytes()
    assert self_signed(tmp_path, "192.0.2.8") == files
    assert (fingerprint(tmp_path / CERTIFICATE), (tmp_path / KEY).read_bytes()) == before
    for name in (CERTIFICATE, KEY):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    der = ssl.PEM_cert_to_DER_cert((tmp_path / CERTIFICATE).read_text())
    assert fingerprint(tmp_path / CERTIFICATE) == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize(
    ("tls", "host", "plain"),
    [
        ("auto", "127.0.0.1", True),
        ("auto", "::1", True),
        ("auto", "localhost", True),
        ("auto", "0.0.0.0", False),
        ("auto", "192.0.2.7", False),
        ("auto", "shop.example", False),
        ("proxied", "0.0.0.0", True),
        ("self-signed", "127.0.0.1", False),
    ],
)
def test_plain_http_leaves_the_machine_only_by_choice(tmp_path, tls, host, plain):
    assert (files_for(tls, host, tmp_path) is None) == plain


def test_files_of_the_operators_must_be_there(tmp_path):
    mine = self_signed(tmp_path, "shop.example")
    assert files_for(mine, "0.0.0.0", tmp_path) == mine
    strict = ssl.create_default_context(cafile=mine.certificate)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT  # as newer Pythons do by themselves
    assert strict.get_ca_certs()
    with pytest.raises(ConfigError, match="missing"):
        files_for(TlsFiles(certificate=mine.certificate, key=str(tmp_path / "none")), "0.0.0.0", tmp_path)
    (tmp_path / "none").write_text("no PEM")
    with pytest.raises(ConfigError, match="holds no certificate"):
        fingerprint(tmp_path / "none")


def test_devices_sync_over_tls_and_nothing_else_gets_in(sqlite_process, tmp_path):
    sqlite_process.configure(tls="self-signed")
    world = sqlite_process.start()
    address = str(world.wire.http.base_url).rstrip("/")
    assert address.startswith("https://")
    certificate = tmp_path / CERTIFICATE  # beside the store
    assert f"sha256:{fingerprint(certificate)} " in sqlite_process.announced
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        world.wire.http.get("/healthz")
    with pytest.raises(SignatureError, match="pinned is sha256:00"):
        pinned(address, "00" * 32)
    trusting = pinned(address, fingerprint(certificate))
    world.wire.http = httpx.Client(base_url=address, verify=trusting, timeout=30)
    phone = world.phone()
    phone.log_in("login:ada")
    assert phone.sync(phone.event()).watermark == 0
    with pytest.raises(httpx.TransportError):
        httpx.get(address.replace("https", "http") + "/healthz")
    old = ssl.create_default_context(cafile=str(certificate))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    host, port = address.removeprefix("https://").split(":")
    with pytest.raises(ssl.SSLError), socket.create_connection((host, int(port))) as raw:
        old.wrap_socket(raw, server_hostname=host)
    assert sqlite_process.stop() == 0
