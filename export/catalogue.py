"""`catalogue.sqlite`: what a phone must know of the items and of what is popular, without a network.

items(item_index, item_id, category, price_minor, margin_minor, flags)     index 1 is the first; 0 is padding
popularity(segment, rank, item_index)                                      rank 1 is the best; '' is everyone
meta(key, value)                                                           currency
"""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.errors import BundleError
from export.durable import write_durably

EVERYONE = ""  # the segment that holds the popularity over all people
SCHEMA = """
CREATE TABLE items (
    item_index INTEGER PRIMARY KEY, item_id TEXT UNIQUE NOT NULL, category TEXT,
    price_minor INTEGER, margin_minor INTEGER, flags INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE popularity (
    segment TEXT NOT NULL, rank INTEGER NOT NULL, item_index INTEGER NOT NULL, PRIMARY KEY (segment, rank)
) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""


class CatalogueItem(msgspec.Struct, frozen=True, kw_only=True):
    item_id: str
    category: str | None = None
    price_minor: int | None = None  # of one piece; None where unknown
    margin_minor: int | None = None
    flags: int = 0  # the project's own bits


@dataclass(frozen=True)
class CatalogueContents:
    """What the file says.

    Attributes:
        items: the item of dense index 1 first.
        popularity: segment -> dense indices, best first; `EVERYONE` must be there.
        currency: ISO 4217.
    """

    items: Sequence[CatalogueItem]
    popularity: Mapping[str, Sequence[int]]
    currency: str

    def __post_init__(self) -> None:
        if EVERYONE not in self.popularity:
            raise BundleError("the catalogue has no popularity over everyone: give it as segment ''")
        if len({item.item_id for item in self.items}) != len(self.items):
            raise BundleError("the catalogue names an item twice: give every item id once")
        for segment, ranked in self.popularity.items():
            if len(set(ranked)) != len(ranked) or not all(1 <= index <= len(self.items) for index in ranked):
                raise BundleError(
                    f"the popularity of segment {segment!r} names an item twice or none of 1 to {len(self.items)}"
                )

    @property
    def version(self) -> str:
        """sha256 over items, popularity and currency, whatever wrote the file."""
        rows = [list(self.items), {name: list(map(int, ranked)) for name, ranked in self.popularity.items()}]
        return hashlib.sha256(msgspec.json.encode([*rows, self.currency], order="deterministic")).hexdigest()


def write_catalogue(path: Path, contents: CatalogueContents) -> None:
    """Write the catalogue; the same contents give the same bytes with the same version of SQLite."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(SCHEMA)
        connection.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)",
            (
                (index, item.item_id, item.category, item.price_minor, item.margin_minor, item.flags)
                for index, item in enumerate(contents.items, start=1)
            ),
        )
        connection.executemany(
            "INSERT INTO popularity VALUES (?, ?, ?)",
            (
                (segment, rank, int(index))
                for segment, ranked in sorted(contents.popularity.items())
                for rank, index in enumerate(ranked, start=1)
            ),
        )
        connection.execute("INSERT INTO meta VALUES ('currency', ?)", (contents.currency,))
        connection.commit()
        write_durably(path, connection.serialize())
    finally:
        connection.close()
