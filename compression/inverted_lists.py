"""Search of a coded catalogue inside the graph: inverted lists over item codes, in builtin operations only.

A query is compared with the centres of all lists; the items of the best few are scored by looking their codes up in
tables of the query's products with every codeword (Jegou, Douze and Schmid, "Product quantization for nearest neighbor
search", TPAMI 2011, section IV). Lists are of one length and items are numbered by their place in them, so that whole
lists are gathered as they lie and no map of ids is needed.

Codes are kept in planes, one book after the other within a list: the look-ups of a book then read and write in order,
which halves the time.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from compression.item_codes import CODEWORDS, StoredCodes, columns_of_books, places_of_columns
from contracts.errors import ConfigError

if TYPE_CHECKING:
    from compression.item_table import Kept

MASKED = -1e5  # below every score, a masked one's too
PROBES = 32  # lists looked into: some 1 to 3 % of a catalogue, which have the best ten of nearly every query


class Found(NamedTuple):
    """The items of the lists that were looked into."""

    items: tf.Tensor  # int32 [probes * slots]
    scores: tf.Tensor  # float32 [probes * slots], MASKED where there is no item
    order: tf.Tensor  # int32 [lists]: when a list was looked into; `probes` where it was not


class FrozenCodes(tf.Module):
    """The coded catalogue as it ships. Like the other tables it gives rows and scores; beyond them, it searches."""

    def __init__(self, stored: StoredCodes, kept: "Kept", probes: int = PROBES) -> None:
        """A catalogue to be searched.

        Args:
            stored: the catalogue.
            kept: whether the centres are int8 constants in the graph, or the same numbers as float32.
            probes: how many lists a search looks into, at most all.
        """
        super().__init__(name="item_codes")
        self.stored, self.kept, self.slots = stored, kept, stored.slots
        self.items = len(stored.codes) - 1
        self.lists, self._width = stored.centres.shape
        self.probes = min(probes, self.lists)
        self._books = len(stored.books)
        whole = np.zeros((self.lists * self.slots, self._books), np.uint8)
        whole[: len(stored.codes)] = stored.codes
        planes = whole.reshape(self.lists, self.slots, self._books).transpose(0, 2, 1)
        self._codes = tf.constant(np.ascontiguousarray(planes).reshape(self.lists, -1))
        self._words = tf.constant(stored.books.reshape(self._books * CODEWORDS, -1))
        self._centres = tf.constant(stored.centres if kept == "shipped" else stored.centres.astype(np.float32))
        self._plane = np.arange(self._books, dtype=np.int32)
        columns = columns_of_books(self._books, self._width).ravel()
        self._columns = np.where(columns < self._width, columns, 0).astype(np.int32)  # codewords are 0 where none is
        self._places = places_of_columns(self._books, self._width)

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        """float32 [..., width]: vectors of some items, int32 of any shape whose first dimension alone is free."""
        flat = tf.reshape(items, (-1, 1))
        at = flat // self.slots
        place = flat - at * self.slots + self._plane * self.slots  # [n, books]
        codes = tf.gather(tf.gather(self._codes, at[:, 0]), place, batch_dims=1)
        words = tf.gather(self._words, tf.cast(codes, tf.int32) + self._plane * CODEWORDS)  # [n, books, part]
        by_column = tf.gather(tf.reshape(words, (-1, len(self._columns))), self._places, axis=1)
        vectors = by_column + self._centres_of(at[:, 0])
        return tf.reshape(vectors, (-1, *items.shape[1:], self._width))

    def score(self, query: tf.Tensor) -> tf.Tensor:
        """float32 [1, items + 1]: an exhaustive scan of the codes, to compare the search with."""
        scores = self._look_up(query, tf.range(self.lists))
        return tf.reshape(scores, (1, -1))[:, : self.items + 1]

    def search(self, query: tf.Tensor) -> Found:
        """Scores of the items in the lists whose centres are nearest to a query, float32 [1, width]."""
        near = tf.matmul(query, tf.cast(self._centres, tf.float32), transpose_b=True)
        _, nearest = tf.math.top_k(near, self.probes)
        lists = tf.reshape(nearest, (-1,))
        items = tf.reshape(lists[:, None] * self.slots + np.arange(self.slots, dtype=np.int32), (-1,))
        is_none = tf.cast(tf.logical_or(tf.equal(items, 0), items > self.items), tf.float32)
        scores = tf.reshape(self._look_up(query, lists), (-1,)) + is_none * MASKED
        when = np.arange(self.probes, dtype=np.int32) - self.probes
        order = tf.scatter_nd(lists[:, None], when, (self.lists,)) + self.probes
        return Found(items, scores, order)

    def _look_up(self, query: tf.Tensor, lists: tf.Tensor) -> tf.Tensor:
        """float32 [n, slots]: scores of the items of some lists, int32 [n]."""
        by_book = tf.reshape(tf.gather(query, self._columns, axis=1), (self._books, -1))
        each = tf.gather(by_book, np.repeat(self._plane, CODEWORDS))  # not by a shape of the words: they would be two
        products = tf.reduce_sum(each * self._words, -1)
        planes = tf.reshape(tf.gather(self._codes, lists), (-1, self._books, self.slots))
        index = tf.cast(planes, tf.int32) + (self._plane * CODEWORDS)[:, None]
        centres = tf.reduce_sum(self._centres_of(lists) * query, -1, keepdims=True)
        return tf.reduce_sum(tf.gather(products, index), 1) + centres

    def _centres_of(self, lists: tf.Tensor) -> tf.Tensor:
        """float32 [n, width]: the centres of some lists, int32 [n]."""
        return tf.cast(tf.gather(self._centres, lists), tf.float32) * self.stored.scale

    is_quantized = True

    @property
    def trained(self) -> list[tf.Variable]:
        """Nothing: a model over it trains on around its items."""
        return []

    def start_quantization(self) -> None:
        """It is what is stored."""

    def after_step(self, step: int) -> None:
        """Nothing moves."""

    def end_training(self) -> None:
        """Nothing moved."""

    def frozen(self) -> StoredCodes:
        return self.stored

    def recommend(
        self, query: tf.Tensor, items: tf.Tensor, own: tf.Tensor, candidates: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The best of the search and of a history, each item once.

        The history's items are scored whether or not their lists are looked into; where they are, the search's score
        gives way to the history's.

        Args:
            query: float32 [1, width].
            items: int32 [1, L], 0 is padding.
            own: float32 [1, L], scores of the history's items.
            candidates: how many to return.

        Returns:
            int32 and float32 [1, candidates]: items and scores, best first.

        Raises:
            ConfigError: if the lists looked into could hold too few items.
        """
        length, looked_into = items.shape[1], self.probes * self.slots
        empty = self.lists * self.slots - self.items
        if looked_into < candidates + length + empty:
            raise ConfigError(
                f"{self.probes} lists of {self.slots} items are searched for {candidates} candidates beside a history "
                f"of {length}: search more lists, or build with fewer candidates or a shorter history"
            )
        found = self.search(query)
        history = tf.reshape(items, (-1, 1))
        at = history // self.slots
        # An item of a list that was not looked into falls behind the others, where nobody reads.
        place = tf.gather(found.order, at[:, 0])[:, None] * self.slots + history - at * self.slots
        known = tf.scatter_nd(place, tf.fill((length,), MASKED), (looked_into + self.slots,))[:looked_into]
        padding = tf.cast(tf.equal(items, 0), tf.float32) * MASKED
        scores = tf.concat([own + padding, (found.scores + known)[None, :]], axis=1)
        best, index = tf.math.top_k(scores, candidates)
        numbers = tf.concat([tf.reshape(items, (-1,)), found.items], axis=0)
        return tf.gather(numbers, index), best
