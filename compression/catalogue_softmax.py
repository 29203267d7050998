"""Cross-entropy of a softmax over a whole catalogue whose targets are few items of each row.

Most of a step's time goes to what has the catalogue's size: scores, their exponentials and the gradient. All that is
done to them is a pass over memory, and compiled together by XLA they take few.
"""

from collections.abc import Callable

import tensorflow as tf

from compression.sequence_encoder import MASKED


@tf.custom_gradient
def soft_cross_entropy(
    queries: tf.Tensor, table: tf.Tensor, wanted: tf.Tensor, share: tf.Tensor, taken: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Mean over rows of the cross-entropy between what is wanted and the softmax of the scores of all items not taken.

    Compiled anew for every number of rows: pad them, with shares of 0, to one.

    Args:
        queries: float32 [N, width].
        table: float32 [items, width]; an item's score is its product with the query.
        wanted: int32 [N, K], items; one may stand in a row twice.
        share: float32 [N, K], rows of sum 1, or 0 where the row does not count; 0 for taken items.
        taken: bool [N, items], items that are no answer.

    Returns:
        float32 [], in nats, with gradients for queries and table.
    """
    loss, of_queries, of_table = _loss_and_gradients(queries, table, wanted, share, taken)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None, None, None]:
        return of_queries * upstream, of_table * upstream, None, None, None

    return loss, gradient


@tf.function(jit_compile=True)
def _loss_and_gradients(
    queries: tf.Tensor, table: tf.Tensor, wanted: tf.Tensor, share: tf.Tensor, taken: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    counts = tf.reduce_sum(share, axis=1)
    mean = 1.0 / tf.reduce_sum(counts)
    scores = tf.where(taken, MASKED, tf.matmul(queries, table, transpose_b=True))
    towards = tf.reduce_sum(share * tf.gather(scores, wanted, batch_dims=1), axis=1)
    largest = tf.reduce_max(scores, axis=1, keepdims=True)
    exponentials = tf.exp(scores - largest)
    total = tf.reduce_sum(exponentials, axis=1, keepdims=True)
    loss = mean * tf.reduce_sum(counts * (largest + tf.math.log(total))[:, 0] - towards)
    softmax = exponentials * (mean * counts[:, None] / total)
    rows = tf.broadcast_to(tf.range(tf.shape(wanted)[0])[:, None], tf.shape(wanted))
    of_scores = tf.tensor_scatter_nd_sub(softmax, tf.stack([rows, wanted], axis=-1), mean * share)
    return loss, tf.matmul(of_scores, table), tf.matmul(of_scores, queries, transpose_a=True)
