"""A catalogue as item codes: product quantization whose codes are the vectors, trained jointly with the model.

An item's vector is the centre of its list (see `compression.balanced_lists`) plus one codeword of each of several
books: item i of list l with codes c is `centres[l] + columns of (books[0][c[0]], books[1][c[1]], ...)`. The last book
speaks for the last columns: the biases, of which popularity outweighs whatever shares its book, and the weakest of the
others. Of the rest book m speaks for columns m, m + books - 1, ...: a table that starts from a decomposition has its
strongest columns first, and so each book gets its share of them. Where columns do not divide evenly, some books speak
for one fewer. A code is one byte. Centres lie on an int8 grid, and what that rounds away is the codewords' to say.

While training, a float table stands behind the codes. The model sees the decoded vectors; gradients go to the
codewords, and straight through to the float table (DPQ-VQ: Chen, Li and Sun 2020, arXiv:1908.09756; for
recommenders RecJPQ: Petrov and Macdonald, WSDM 2024, arXiv:2312.06165). Every few steps each item takes the codes that
are nearest to its float vector by then, and its float vector goes half the way back to them: what pushes it has not
seen it move, so it would drift past codewords that were near enough (the commitment of VQ-VAE: van den Oord, Vinyals
and Kavukcuoglu 2017, arXiv:1711.00937).
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from compression.item_table import quantization_scale, quantize

CODEWORDS = 256
FITTING_ROUNDS = 20  # of k-means, from which joint training goes on
FITTING_DRAWS = 100_000  # for k-means, by importance
REASSIGN_EVERY = 10  # steps
CHUNK = 4096  # items coded at once
SHORTEST_LIST = 64


class StoredCodes(NamedTuple):
    """A coded catalogue as it is stored."""

    codes: NDArray[np.uint8]  # [items + 1, books]; row 0 is padding
    books: NDArray[np.float32]  # [books, CODEWORDS, part], see columns_of_books
    centres: NDArray[np.int8]  # [lists, width]
    scale: float  # of the centres
    slots: int  # items of a list
    order: NDArray[np.int64] | None = None  # [items + 1] the log's number of each item, where it is another

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.books.nbytes + self.centres.nbytes

    def values(self) -> NDArray[np.float32]:
        """float32 [items + 1, width]: what the codes stand for."""
        lists = np.arange(len(self.codes)) // self.slots
        return self.centres[lists] * np.float32(self.scale) + decode(self.codes, self.books, self.centres.shape[1])


def columns_of_books(books: int, width: int) -> NDArray[np.int64]:
    """int64 [books, part]: for which columns each book speaks, `width` where for one fewer; part = ceil(width / books).

    Args:
        books: from 1 to width.
        width: of a vector.
    """
    part = -(-width // books)
    others = np.arange(part * (books - 1)).reshape(part, books - 1).T
    return np.concatenate([np.where(others < width - part, others, width), np.arange(width - part, width)[None]])


def places_of_columns(books: int, width: int) -> NDArray[np.int32]:
    """int32 [width]: where each column stands when the books' codewords stand side by side."""
    return np.argsort(columns_of_books(books, width).ravel(), kind="stable")[:width].astype(np.int32)


def decode(codes: NDArray[np.uint8], books: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """float32 [n, width] from codes uint8 [n, books]: the sum of the codewords, without centres."""
    words = books[np.arange(len(books)), codes.astype(np.int64)]  # [n, books, part]
    vectors = np.empty((len(codes), width + 1), np.float32)
    vectors[:, columns_of_books(len(books), width).ravel()] = words.reshape(len(codes), -1)
    return vectors[:, :width]


def spoken_for(books: int, width: int) -> list[NDArray[np.int64]]:
    """`columns_of_books` without the places of none, which are the last of a book."""
    return [columns[columns < width] for columns in columns_of_books(books, width)]


def encode(residuals: NDArray[np.float32], books: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray:
    """The nearest codewords.

    Args:
        residuals: float32 [n, width], vectors less the centres of their lists.
        books: float32 [books, CODEWORDS, part].
        weights: float32 [width], how much a squared error in each column matters.

    Returns:
        uint8 [n, books].
    """
    codes = np.empty((len(residuals), len(books)), np.uint8)
    for number, columns in enumerate(spoken_for(len(books), residuals.shape[1])):
        words, matters = books[number, :, : len(columns)], weights[columns]
        lengths = (words**2 * matters).sum(1)
        for first in range(0, len(residuals), CHUNK):
            rows = slice(first, first + CHUNK)
            codes[rows, number] = (lengths - 2 * (residuals[rows][:, columns] * matters) @ words.T).argmin(1)
    return codes


def fit_books(
    residuals: NDArray[np.float32],
    books: int,
    weights: NDArray[np.float32],
    importance: NDArray[np.floating],
    seed: int,
) -> NDArray[np.float32]:
    """Codewords by weighted k-means in each book's columns, from k-means++ (Arthur and Vassilvitskii 2007).

    Rows are drawn by importance, each drawn row counts as often as it was: drawn rows as they come would start many
    codewords at the same few items, of which all but one would never be used.

    Args:
        residuals: float32 [n, width].
        books: their number, at most width.
        weights: float32 [width], see `encode`.
        importance: float [n], how likely a row is drawn for the fit.
        seed: of the draws.

    Returns:
        float32 [books, CODEWORDS, part], 0 for a column that is none and a codeword that is not needed.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    draws = np.random.default_rng(seed).choice(len(residuals), FITTING_DRAWS, p=importance / importance.sum())
    rows, times = np.unique(draws, return_counts=True)
    drawn, width = residuals[rows], residuals.shape[1]
    words = np.zeros((books, CODEWORDS, -(-width // books)), np.float32)
    for number, columns in enumerate(spoken_for(books, width)):
        root = np.sqrt(weights[columns])
        points = drawn[:, columns] * root
        wanted = min(CODEWORDS, len(np.unique(points, axis=0)))
        means = KMeans(wanted, n_init=1, max_iter=FITTING_ROUNDS, random_state=seed)
        with threadpool_limits(1):  # several threads add in the order in which they finish
            means.fit(points, sample_weight=times)
        words[number, :wanted, : len(columns)] = means.cluster_centers_ / root
    return words


def list_length(items: int) -> int:
    """How many items a list has: so many that a search spends about as long on centres as on items."""
    return max(SHORTEST_LIST, round(items**0.5 / 4))


def code_table(
    values: NDArray[np.float32], slots: int, books: NDArray[np.float32], weights: NDArray[np.float32]
) -> StoredCodes:
    """A catalogue coded with codewords that are there already.

    Args:
        values: float32 [items + 1, width], numbered by lists of `slots`.
        slots: items of a list.
        books: float32 [books, CODEWORDS, part].
        weights: float32 [width], see `encode`.
    """
    centres, scale = list_centres(values, slots)
    lists = np.arange(len(values)) // slots
    codes = encode(values - centres[lists] * np.float32(scale), books, weights)
    return StoredCodes(codes, books, centres, scale, slots)


def list_centres(values: NDArray[np.float32], slots: int) -> tuple[NDArray[np.int8], float]:
    """int8 [lists, width] and their scale: the mean of each list, on the grid."""
    first = np.arange(0, len(values), slots)
    members = np.diff(np.append(first, len(values)))[:, None]
    means = np.add.reduceat(values, first) / members
    scale = float(np.float32(quantization_scale(means, coverage=1.0)))
    return quantize(means, scale), scale


class TrainableCodes(tf.Module):
    """The coded catalogue while it is trained: a float table, seen through its codes once quantization has started."""

    def __init__(
        self,
        values: NDArray[np.float32],
        slots: int,
        books: int,
        weights: NDArray[np.float32],
        importance: NDArray[np.floating],
        seed: int,
        order: NDArray[np.int64] | None = None,
    ) -> None:
        """A table that will be coded.

        Args:
            values: float32 [items + 1, width], numbered so that item i is near the others of list i // slots.
            slots: items of a list.
            books: bytes of an item, at most width.
            weights: float32 [width], see `encode`.
            importance: float [items + 1], see `fit_books`.
            seed: of the fit.
            order: see `StoredCodes`.
        """
        super().__init__(name="item_codes")
        items, width = values.shape
        self.slots, self.order = slots, order
        self._weights, self._importance, self._seed = weights, importance, seed
        self._list = (np.arange(items) // slots).astype(np.int32)
        self.values = tf.Variable(values.astype(np.float32), name="values")
        self.centres = tf.Variable(tf.zeros((self._list[-1] + 1, width)), trainable=False, name="centres")
        self.scale = tf.Variable(0.0, trainable=False, name="scale")  # of the centres; 0: not seen through codes yet
        self.books = tf.Variable(tf.zeros((books, CODEWORDS, -(-width // books))), name="books")
        self.codes = tf.Variable(tf.zeros((items, books), tf.int32), trainable=False, name="codes")

    @property
    def is_quantized(self) -> bool:
        return bool(self.scale.numpy())

    def start_quantization(self) -> None:
        """Fix the centres, fit codewords to what is left, and see the float table through both from now on."""
        values = self.values.numpy()
        centres, scale = list_centres(values, self.slots)
        self.scale.assign(scale)
        self.centres.assign(centres * np.float32(scale))
        residuals = values - self.centres.numpy()[self._list]
        books = self.books.shape[0]
        self.books.assign(fit_books(residuals[1:], books, self._weights, self._importance[1:], self._seed))
        self.reassign()

    def after_step(self, step: int) -> None:
        """Every few steps, give every item its nearest codes."""
        if self.is_quantized and step % REASSIGN_EVERY == 0:
            self.reassign()

    def reassign(self) -> None:
        """Give every item its nearest codes, and bring its float vector nearer to them."""
        centres, books = self.centres.numpy()[self._list], self.books.numpy()
        values = self.values.numpy()
        codes = encode(values - centres, books, self._weights)
        self.codes.assign(codes.astype(np.int32))
        self.values.assign((values + centres + decode(codes, books, values.shape[1])) / 2)

    @property
    def trained(self) -> list[tf.Variable]:
        """What a training step may move; codes are moved between steps."""
        return [self.values, self.books]

    def end_training(self) -> None:
        """What is stored was seen by training in its last steps."""

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        floats = tf.gather(self.values, items)
        books, _, part = self.books.shape
        chosen = tf.gather(self.codes, items) + tf.range(books) * CODEWORDS  # [..., books]
        words = tf.gather(tf.reshape(self.books, (-1, part)), chosen)  # [..., books, part]
        side_by_side = tf.reshape(words, tf.concat([tf.shape(items), [books * part]], 0))
        vectors = tf.gather(side_by_side, places_of_columns(books, self.values.shape[1]), axis=-1)
        decoded = tf.gather(self.centres, items // self.slots) + vectors
        return tf.where(self.scale > 0.0, decoded + floats - tf.stop_gradient(floats), floats)

    def score(self, query: tf.Tensor) -> tf.Tensor:
        return tf.matmul(query, self.rows(tf.range(self.values.shape[0])), transpose_b=True)

    def frozen(self) -> StoredCodes:
        """As it is stored, with the codes that were trained last."""
        if not self.is_quantized:
            self.start_quantization()
        scale = float(self.scale.numpy())
        centres = quantize(self.centres.numpy(), scale)
        codes = self.codes.numpy().astype(np.uint8)
        return StoredCodes(codes, self.books.numpy(), centres, scale, self.slots, self.order)
