"""The bundle's catalogue, read only: item index <-> item id, and popularity for who has no history."""

import sqlite3
from pathlib import Path

from contracts.errors import BundleError
from export.catalogue import EVERYONE


class Catalogue:
    """`catalogue.sqlite`: indices run from 1, 0 is padding and stands for whatever the catalogue lacks."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            BundleError: if the file is no catalogue.
        """
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
            with_ids = connection.execute("SELECT item_index, item_id FROM items").fetchall()
            self._popular: dict[str, list[int]] = {}
            for segment, item in connection.execute(
                "SELECT segment, item_index FROM popularity ORDER BY segment, rank"
            ):
                self._popular.setdefault(segment, []).append(item)
            self.currency = dict(connection.execute("SELECT key, value FROM meta")).get("currency", "")
            connection.close()
        except sqlite3.Error as error:
            raise BundleError(f"{path.name} is no catalogue ({error}): build the bundle again") from None
        self._ids = dict(with_ids)
        self._indices = {item_id: index for index, item_id in with_ids}

    def __len__(self) -> int:
        return len(self._ids)

    def index_of(self, item_id: str) -> int:
        """Dense index of an item, 0 where the catalogue lacks it."""
        return self._indices.get(item_id, 0)

    def item_id(self, index: int) -> str:
        """Item of a dense index.

        Raises:
            BundleError: if the catalogue has no such item, so the model is of another catalogue.
        """
        try:
            return self._ids[index]
        except KeyError:
            raise BundleError(
                f"the catalogue has no item {index}: model and catalogue do not fit, build again"
            ) from None

    def popular(self, segment: str, count: int) -> tuple[int, ...]:
        """Indices of the segment's most popular items, best first; everyone's where the segment is unknown."""
        return tuple(self._popular.get(segment, self._popular.get(EVERYONE, []))[:count])
