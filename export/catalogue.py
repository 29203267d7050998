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
    item_index INTEGER PRIMARY KEY, item_id TEXT NOT NULL, category TEXT,
    price_minor INTEGER, margin_minor INTEGER, flags INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE popularity (
    segment TEXT NOT NULL, rank INTEGER NOT NULL, item_index INTEGER NOT NULL, PRIMARY KEY (segment, rank)
) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
INDEX = "CREATE UNIQUE INDEX items_by_id ON items (item_id)"
_FILE_HEADER_BYTES = 100
_PAGE_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}  # by page type: interior index and table, leaf index and table


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
    """Write the catalogue; the same contents give the same bytes with the same version of SQLite.

    Rows are inserted in the order of their keys, and the index is made after them, so that no page has holes.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("PRAGMA secure_delete = ON")  # pages are zero when they are taken
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
        connection.execute(INDEX)
        connection.commit()
        write_durably(path, _wiped(connection.serialize()))
    finally:
        connection.close()


def _wiped(database: bytes) -> bytes:
    """A database whose pages are zero where nothing is stored: balancing an index leaves bits of memory there.

    Source: sqlite.org/fileformat2.html, section 1.6, B-tree Pages: the unallocated region lies between the array of
    cell pointers and the first cell.
    """
    wiped = bytearray(database)
    page_bytes = int.from_bytes(database[16:18], "big")
    for page in range(0, len(database), page_bytes):
        header = page + _FILE_HEADER_BYTES if page == 0 else page
        header_bytes = _PAGE_HEADER_BYTES.get(database[header])
        if header_bytes is None:  # an overflow page
            continue
        cells, content = (int.from_bytes(database[header + at : header + at + 2], "big") for at in (3, 5))
        first = header + header_bytes + 2 * cells
        wiped[first : page + content] = bytes(page + content - first)
    return bytes(wiped)
