"""A record of arrays on disk, as a finished step leaves it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from contracts.errors import RunError

UNREADABLE = (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile)
Record = TypeVar("Record")


def load_arrays(kind: Callable[..., Record], path: Path, what: str) -> Record:
    """Read an npz file.

    Args:
        kind: called with all that `numpy.savez` wrote, by name, such as a dataclass of arrays.
        path: of the file.
        what: it holds, for people to read.

    Raises:
        RunError: if it is absent, damaged, or holds other arrays.
    """
    try:
        with np.load(path) as archive:
            return kind(**{name: archive[name] for name in archive.files})
    except UNREADABLE as error:
        raise RunError(f"{path.parent} holds no {what} ({error}): run `pocketrec train` again") from None
