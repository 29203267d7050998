"""Trust in one certificate: that of a server which made its own."""

import hashlib
import ssl

import httpx

from contracts.errors import SignatureError


def pinned(server_url: str, certificate_sha256: str) -> ssl.SSLContext:
    """What trusts a server by its certificate's fingerprint, and nobody else.

    Args:
        server_url: such as https://192.0.2.7:8443.
        certificate_sha256: as the server's operator told it, hexadecimal.

    Raises:
        SignatureError: if whoever answers there shows another certificate.
        OSError: if nobody answers.
    """
    url = httpx.URL(server_url)
    shown = ssl.get_server_certificate((url.host, url.port or 443))
    found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest()
    if found != certificate_sha256.lower():
        raise SignatureError(
            f"the server at {server_url} shows the certificate sha256:{found}, pinned is sha256:{certificate_sha256}: "
            "ask its operator which is right"
        )
    context = ssl.create_default_context(cadata=shown)
    context.check_hostname = False  # the certificate itself is known: no name says more
    return context
