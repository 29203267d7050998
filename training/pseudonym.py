"""Keyed hashes instead of the ids of people.

Without the key a pseudonym can be neither computed from an id nor led back to it; an unkeyed hash of a customer
number could be reversed by hashing all customer numbers.
"""

import hashlib
import hmac
from collections.abc import Iterable

KEY_BYTES = 32
PSEUDONYM_BYTES = 16  # 128 bits: no two of 2**40 people share one (birthday bound 2**-48)


def pseudonyms(ids: Iterable[str], key: bytes) -> list[str]:
    """The pseudonym of each id, in order.

    Args:
        ids: ids as the log writes them.
        key: `KEY_BYTES` secret bytes, the same for all runs whose pseudonyms are to agree.

    Returns:
        Hexadecimal digits, two for each of `PSEUDONYM_BYTES`.

    Raises:
        ValueError: if the key has another length.

    Source: keyed BLAKE2b, RFC 7693.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"the pseudonym key has {len(key)} bytes, it must have {KEY_BYTES}")
    return [hashlib.blake2b(each.encode(), key=key, digest_size=PSEUDONYM_BYTES).hexdigest() for each in ids]


def key_from_seed(seed: int) -> bytes:
    """A key that anyone who knows the seed can compute: no protection, only for data that are public anyway.

    `pocketrec demo` uses it so that two runs write the same bytes.
    """
    return hmac.digest(b"pocketrec demo pseudonyms", str(seed).encode(), "sha256")
