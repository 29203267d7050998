"""The bundle's catalogue, read only: items, their categories and prices, and popularity for who has no history."""

import sqlite3
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from functools import cached_property
from pathlib import Path

from contracts.affinities import PriceBand
from contracts.errors import BundleError
from export.catalogue import EVERYONE


class Catalogue:
    """`catalogue.sqlite`: indices run from 1, 0 is padding and stands for whatever the catalogue lacks."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            BundleError: if the file is no catalogue.
        """
        self._ids: dict[int, str] = {}
        self._categories: dict[int, str] = {}
        self._price: dict[int, int] = {}
        self._popular: dict[str, list[int]] = {}
        try:
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
            names: dict[str, str] = {}  # one string for each category, however many items it has
            for index, item_id, category, price in connection.execute(
                "SELECT item_index, item_id, category, price_minor FROM items"
            ):
                self._ids[index] = item_id
                if category is not None:
                    self._categories[index] = names.setdefault(category, category)
                if price is not None:
                    self._price[index] = price
            for segment, item in connection.execute(
                "SELECT segment, item_index FROM popularity ORDER BY segment, rank"
            ):
                self._popular.setdefault(segment, []).append(item)
            self.currency = dict(connection.execute("SELECT key, value FROM meta")).get("currency", "")
            connection.close()
        except sqlite3.Error as error:
            raise BundleError(f"{path.name} is no catalogue ({error}): build the bundle again") from None
        self._indices = {item_id: index for index, item_id in self._ids.items()}

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

    def category_of(self, item_id: str) -> str:
        """Category of an item, empty where it is unknown."""
        return self._categories.get(self.index_of(item_id), "")

    def price_band_of(self, item_id: str) -> PriceBand | None:
        """Which third of its category's items an item is in by its price, None where the price is unknown.

        Items of one price are in one band, that of their middle.
        """
        index = self.index_of(item_id)
        if index not in self._price:
            return None
        prices, price = self._sorted_prices[self._categories.get(index, "")], self._price[index]
        below = bisect_left(prices, price) + bisect_right(prices, price)  # twice the items below the middle of these
        return list(PriceBand)[below * len(PriceBand) // (2 * len(prices))]

    def popular(self, segment: str, count: int | None = None) -> tuple[int, ...]:
        """Indices of the segment's most popular items, best first; everyone's where the segment is unknown.

        Args:
            count: at most so many; None for all that the catalogue lists.
        """
        return tuple(self._popular.get(segment, self._popular.get(EVERYONE, []))[:count])

    @cached_property
    def _sorted_prices(self) -> dict[str, "array[int]"]:
        """Of the items of each category."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, price in self._price.items():
            found[self._categories.get(index, "")].append(price)
        return {category: array("q", sorted(prices)) for category, prices in found.items()}
