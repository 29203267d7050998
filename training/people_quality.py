"""Per-person quality of named models on disk, so that any two can be compared paired, by any later step."""

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp

from contracts.errors import RunError
from training.evaluation import MEANS, ListMetrics, PersonMetrics

FILE = "people_quality.npz"
_TASKS = ("all_items", "new_items")
_SHOWN = ("shown_indices", "shown_indptr", "shown_shape")


def save_people_quality(folder: Path, models: dict[str, PersonMetrics]) -> None:
    """Write the metrics of some models into an existing folder."""
    np.savez_compressed(
        folder / FILE,
        **{
            f"{name}:{task}.{key}": value
            for name, found in models.items()
            for task in _TASKS
            for key, value in _arrays(getattr(found, task)).items()
        },
    )


def load_people_quality(folder: Path) -> dict[str, PersonMetrics]:
    """Model name -> metrics, in the order written.

    Raises:
        RunError: if the folder holds none.
    """
    try:
        with np.load(folder / FILE) as archive:
            names = dict.fromkeys(key.rpartition(":")[0] for key in archive.files)
            return {name: PersonMetrics(*(_metrics(archive, f"{name}:{task}.") for task in _TASKS)) for name in names}
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, BadZipFile, zlib.error) as error:
        raise RunError(f"{folder} holds no quality of people ({error}): run the step that evaluates again") from None


def _arrays(metrics: ListMetrics) -> dict[str, Any]:
    shown = metrics.shown
    sparse = (shown.indices.astype(np.int32), shown.indptr.astype(np.int32), np.array(shown.shape, np.int64))
    return {name: getattr(metrics, name) for name in MEANS} | dict(zip(_SHOWN, sparse, strict=True))


def _metrics(archive: np.lib.npyio.NpzFile, prefix: str) -> ListMetrics:
    indices, indptr, shape = (archive[prefix + name] for name in _SHOWN)
    shown = sp.csr_matrix((np.ones(len(indices), bool), indices, indptr), shape=tuple(shape.tolist()))
    return ListMetrics(**{name: archive[prefix + name] for name in MEANS}, shown=shown)
