"""Per-person quality of named models on disk, so that any two can be compared paired, by any later step."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from contracts.errors import RunError
from training.evaluation import PersonMetrics

FILE = "people_quality.npz"
_METRICS = ("ndcg", "recall", "new_ndcg")


def save_people_quality(folder: Path, models: dict[str, PersonMetrics]) -> None:
    """Write the metrics of some models into an existing folder."""
    np.savez(
        folder / FILE,
        **{f"{name}:{metric}": getattr(found, metric) for name, found in models.items() for metric in _METRICS},
    )


def load_people_quality(folder: Path) -> dict[str, PersonMetrics]:
    """Model name -> metrics, in the order written.

    Raises:
        RunError: if the folder holds none.
    """
    try:
        with np.load(folder / FILE) as archive:
            names = dict.fromkeys(key.rpartition(":")[0] for key in archive.files)
            return {name: PersonMetrics(*(archive[f"{name}:{metric}"] for metric in _METRICS)) for name in names}
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise RunError(f"{folder} holds no quality of people ({error}): run the step that evaluates again") from None
