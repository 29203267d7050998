"""The trials on the disk: Optuna's journal, one line for each change, put on the disk line by line."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from contracts.errors import RunError

if TYPE_CHECKING:
    import optuna


def open_study(path: Path, name: str, directions: tuple[Literal["minimize", "maximize"], ...]) -> "optuna.Study":
    """The study of a name in a journal, made where missing.

    A process that was killed may leave half a line, the journal's lock, and a trial that nobody finishes: the line is
    cut off, the lock removed (who calls holds the run directory alone), the trial marked as failed.

    Args:
        path: of the journal.
        name: of the study: one for all that its trials' results depend on.
        directions: "maximize" or "minimize" for each objective.

    Raises:
        RunError: if the journal is damaged.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    for lock in path.parent.glob(f"{path.name}.lock*"):
        lock.unlink()
    try:
        _cut_half_line(path)
        storage = JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(study_name=name, storage=storage, directions=list(directions), load_if_exists=True)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{path} is damaged ({reason}): remove it to begin the search anew") from None
    return study


def _cut_half_line(path: Path) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            json.loads(line)  # raises where the file was damaged otherwise
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("rb+") as file:
            file.truncate(whole)
            os.fsync(file.fileno())
