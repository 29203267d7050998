"""python-tuf's errors as those of the contracts."""

from collections.abc import Iterator
from contextlib import contextmanager

from tuf.api import exceptions as tuf_errors

from contracts.errors import BundleError, IntegrityError, RollbackError, SignatureError


@contextmanager
def contract_errors() -> Iterator[None]:
    """
    Raises:
        RollbackError: if metadata is older than what is held.
        SignatureError: if it is not signed by keys that are trusted, or has expired.
        IntegrityError: if a file is not the one that the metadata names.
        BundleError: if a file cannot be had at all.
    """
    try:
        yield
    except tuf_errors.BadVersionNumberError as error:
        raise RollbackError(f"the repository's metadata is older than what is held: {error}") from error
    except tuf_errors.ExpiredMetadataError as error:
        raise SignatureError(f"the repository's metadata has expired: {error}; its owner must refresh it") from error
    except tuf_errors.LengthOrHashMismatchError as error:
        raise IntegrityError(f"the repository's files do not fit together: {error}") from error
    except tuf_errors.RepositoryError as error:
        raise SignatureError(f"the repository's metadata cannot be trusted: {error}") from error
    except tuf_errors.DownloadLengthMismatchError as error:
        raise IntegrityError(f"a file of the repository is longer than signed: {error}") from error
    except tuf_errors.DownloadError as error:
        raise BundleError(f"the repository cannot be read: {error}") from error
