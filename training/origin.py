"""A finished teacher to go on from, with the catalogue it was trained on."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from contracts.errors import RunError
from training.attributes import price_bands
from training.checkpoint import UNREADABLE, fingerprint, reason
from training.cold_items import match_items
from training.histories import Histories
from training.prepared import ITEMS, RECORD, PrepareRecord, load_record
from training.teacher import Teacher, TeacherShape
from training.train import TEACHER

ATTRIBUTES = ("category", "department", "brand")  # in the order of the teacher's tables; a price band comes last


@dataclass(frozen=True)
class Origin:
    """What is continued."""

    folder: Path
    record: PrepareRecord  # of the log it was trained on
    item_id: list[str]  # [items + 1], the first is padding's
    kinds: list[list[str]]  # of each attribute the distinct values, in the order of their codes from 1
    teacher: Teacher

    @property
    def ends(self) -> str:
        """The day on which its log ends."""
        return day_of(self.record.end_ms)

    def indices(self, item_id: list[str]) -> NDArray[np.int64]:
        """int64 [items + 1]: the index here of each item of another catalogue, 0 where it is not known."""
        return match_items(self.item_id, item_id)


def day_of(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"


def keep_origin(prepare_folder: Path, train_folder: Path, folder: Path) -> None:
    """Copy what `load_origin` reads into one new folder, which then serves as both of its folders."""
    folder.mkdir()
    for source in (prepare_folder / ITEMS, prepare_folder / RECORD, train_folder / TEACHER):
        shutil.copyfile(source, folder / source.name)


def origin_fingerprint(prepare_folder: Path, train_folder: Path) -> str:
    """SHA-256 in hexadecimal of all that is read of an origin.

    Raises:
        RunError: if something of it is missing.
    """
    files = (prepare_folder / ITEMS, prepare_folder / RECORD, train_folder / TEACHER)
    try:
        return fingerprint(*(np.frombuffer(path.read_bytes(), np.uint8) for path in files))
    except OSError as error:
        raise RunError(
            f"{error.filename} cannot be read ({error.strerror}): run `pocketrec train --from` into another --run"
        ) from None


def load_origin(prepare_folder: Path, train_folder: Path) -> Origin:
    """Read a finished teacher and its catalogue.

    Raises:
        RunError: if one of them is missing or damaged, or they do not belong together.
    """
    record = load_record(prepare_folder)
    try:
        items = pl.read_parquet(prepare_folder / ITEMS)
        item_id = ["", *items["item_id"].to_list()]
        saved = torch.load(train_folder / TEACHER, weights_only=True)
        shape = TeacherShape(**saved["shape"])
        columns = [items[name].to_numpy().astype(str) for name in ATTRIBUTES]
        if shape.price_bands:
            prices = items["price_minor"].to_numpy()
            columns.append(price_bands(items["category"].to_list(), prices, shape.price_bands).astype(str))
        values = [np.unique(column, return_inverse=True) for column in columns]
        codes = np.stack([np.concatenate([[0], codes + 1]) for _, codes in values]).astype(np.int64)
        teacher = Teacher(shape, codes, np.zeros(len(item_id)))
        teacher.load_state_dict(saved["weights"])
        if not torch.equal(teacher.attributes, torch.from_numpy(codes)):
            raise RuntimeError("its catalogue is another")
    except UNREADABLE as error:
        raise RunError(
            f"{train_folder} holds no teacher to go on from ({reason(error)}): name a run whose `pocketrec train` "
            "finished"
        ) from None
    except pl.exceptions.PolarsError as error:
        raise RunError(f"{prepare_folder / ITEMS} cannot be read ({error}): name another run") from None
    return Origin(train_folder, record, item_id, [list(names) for names, _ in values], teacher.eval())


class OriginScores:
    """What the origin's teacher answers in terms of another catalogue: items it does not know are never answered."""

    def __init__(self, origin: Origin, item_id: list[str]) -> None:
        self._teacher = origin.teacher
        self._index = origin.indices(item_id)
        self._known = torch.from_numpy(np.flatnonzero(self._index))

    def scores(self, histories: Histories) -> torch.Tensor:
        """float32 [n, items + 1] of the other catalogue, from histories in its indices."""
        translated = self._index[histories.items].astype(np.int32)
        own = Histories(translated, histories.events, histories.counts, histories.ages, histories.context)
        found = torch.full((len(histories), len(self._index)), -torch.inf)
        found[:, self._known] = self._teacher.scores(own)[:, torch.from_numpy(self._index)[self._known]]
        return found
