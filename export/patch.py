"""The way from a bundle that a phone holds to a newer one: a zstd frame that refers to the older tar.

The older tar is the frame's dictionary, as raw content, within one window over both (what `zstd --patch-from` does), so
that unchanged stretches anywhere in a model cost a few bytes.
"""

import hashlib

import zstandard

from contracts.errors import IntegrityError
from export.archive import LEVEL

_MAX_WINDOW_LOG = 31  # of the format on 64-bit machines: base and result together stay below 2 GB
_MIN_WINDOW_LOG = 10


def make_patch(base: bytes, result: bytes, smaller_than: int | None = None) -> bytes | None:
    """A patch from the tar `base` to the tar `result`; the same input gives the same bytes.

    Args:
        base: the tar that the phone holds.
        result: the tar that it shall have.
        smaller_than: bytes of the whole result as it is published; a patch that is no smaller is useless: None.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=len(result),
        dict_size=len(base),
        window_log=_window_log(len(base) + len(result)),
        enable_ldm=True,
        write_content_size=True,
        write_checksum=True,
    )
    patch = zstandard.ZstdCompressor(compression_params=parameters, dict_data=_dictionary(base)).compress(result)
    return patch if smaller_than is None or len(patch) < smaller_than else None


def apply_patch(base: bytes, patch: bytes, *, base_sha256: str, result_sha256: str, result_bytes: int) -> bytes:
    """The tar that a patch leads to.

    Args:
        base: the tar the patch was made from.
        patch: what `make_patch` gave.
        base_sha256: hex hash that `base` must have.
        result_sha256: hex hash that the result must have.
        result_bytes: size that the result must have and cannot exceed.

    Raises:
        IntegrityError: if the base is another one, or the patch does not lead to the result.
    """
    if (found := hashlib.sha256(base).hexdigest()) != base_sha256:
        raise IntegrityError(f"the patch is for a base with sha256 {base_sha256}, this one has {found}: take the whole")
    try:
        if (size := zstandard.frame_content_size(patch)) != result_bytes:
            raise IntegrityError(f"the patch leads to {size} bytes, its repository says {result_bytes}")
        window = 1 << _window_log(len(base) + result_bytes)
        decompressor = zstandard.ZstdDecompressor(dict_data=_dictionary(base), max_window_size=window)
        result = decompressor.decompress(patch, max_output_size=result_bytes)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"the patch is damaged: {error}") from None
    if (found := hashlib.sha256(result).hexdigest()) != result_sha256:
        raise IntegrityError(f"the patch leads to sha256 {found}, its repository says {result_sha256}")
    return result


def _dictionary(base: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _window_log(total_bytes: int) -> int:
    return min(max(total_bytes.bit_length(), _MIN_WINDOW_LOG), _MAX_WINDOW_LOG)
