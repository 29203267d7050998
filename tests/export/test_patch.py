"""A patch leads from exactly one tar to exactly one other, and costs what changed."""

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import IntegrityError
from export.patch import apply_patch, make_patch


def applied(base: bytes, patch: bytes | None, result: bytes, original: bytes | None = None) -> bytes:
    assert patch is not None
    return apply_patch(
        base,
        patch,
        base_sha256=hashlib.sha256(original if original is not None else base).hexdigest(),
        result_sha256=hashlib.sha256(result).hexdigest(),
        result_bytes=len(result),
    )


@settings(max_examples=60, deadline=None)
@given(base=st.binary(max_size=3000), inserted=st.binary(max_size=300), position=st.integers(0, 3000))
def test_apply_inverts_make(base: bytes, inserted: bytes, position: int) -> None:
    result = base[:position] + inserted + base[position + 7 :]
    patch = make_patch(base, result)
    assert make_patch(base, result) == patch
    assert applied(base, patch, result) == result


def test_unchanged_megabytes_cost_next_to_nothing_wherever_they_moved() -> None:
    noise = random.Random(0).randbytes(4_000_000)  # incompressible: only the base can help
    result = noise[3_000_000:] + b"new" * 100 + noise[:3_000_000]
    patch = make_patch(noise, result)
    assert patch is not None
    assert len(patch) < 1000
    assert applied(noise, patch, result) == result


def test_a_patch_that_is_no_smaller_than_the_whole_is_not_made() -> None:
    base, result = random.Random(2).randbytes(5000), random.Random(3).randbytes(5000)  # nothing in common
    patch = make_patch(base, result)
    assert patch is not None
    assert len(patch) >= len(result)
    assert make_patch(base, result, smaller_than=len(patch)) is None
    assert make_patch(base, result, smaller_than=len(patch) + 1) == patch


def test_another_base_is_refused_before_it_is_used() -> None:
    base, result = b"a" * 1000, b"a" * 999 + b"b"
    with pytest.raises(IntegrityError, match="base"):
        applied(b"c" * 1000, make_patch(base, result), result, original=base)


def test_a_patch_that_leads_elsewhere_is_refused() -> None:
    base, result = b"a" * 1000, b"a" * 999 + b"b"
    other = b"a" * 999 + b"c"
    with pytest.raises(IntegrityError, match="leads to sha256"):
        applied(base, make_patch(base, other), result)
    with pytest.raises(IntegrityError, match="leads to 1001 bytes"):
        applied(base, make_patch(base, result + b"!"), result)


def test_every_flipped_byte_of_a_patch_is_found() -> None:
    base = random.Random(1).randbytes(500)
    result = base[:250] + b"changed" + base[250:]
    patch = make_patch(base, result) or b""
    for position in range(len(patch)):
        damaged = bytearray(patch)
        damaged[position] ^= 0xFF
        with pytest.raises(IntegrityError):
            applied(base, bytes(damaged), result)
