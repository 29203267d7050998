"""Content codings are undone within the limit, in memory too."""

import gzip
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import LimitError, WireError
from sync_server.wire import decompress

CODINGS = {"zstd": zstandard.compress, "gzip": gzip.compress, "identity": bytes, "": bytes}
LIMIT = 2**16


@given(st.binary(max_size=100), st.sampled_from(sorted(CODINGS)), st.integers(0, 100))
def test_a_body_up_to_the_limit_comes_back_and_a_longer_one_is_refused(data, coding, limit):
    if len(data) <= limit:
        assert decompress(CODINGS[coding](data), coding, limit) == data
    else:
        with pytest.raises(LimitError, match=f"max_decoded_bytes = {limit}"):
            decompress(CODINGS[coding](data), coding, limit)


@given(st.binary(max_size=100), st.sampled_from(["zstd", "gzip"]))
def test_damaged_bodies_are_wire_errors(data, coding):
    try:
        decompress(data, coding, LIMIT)
    except WireError:
        return
    assert CODINGS[coding](decompress(data, coding, LIMIT))  # by chance it was a good one


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
def test_a_bomb_is_never_unpacked(coding):
    bomb = CODINGS[coding](bytes(2**27))
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            decompress(bomb, coding, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 16 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
def test_a_body_that_is_cut_short_is_refused(coding):
    whole = CODINGS[coding](b"0123456789" * 500)
    with pytest.raises(WireError):
        decompress(whole[: len(whole) // 2], coding, LIMIT)
