"""Cross-entropy of a softmax over a whole catalogue whose targets are few items of each row.

Most of a step's time goes to what has the catalogue's size: here that is the scores, their exponentials and the
gradient. Targets are never written out.
"""

from collections.abc import Callable

import tensorflow as tf


@tf.custom_gradient
def soft_cross_entropy(
    queries: tf.Tensor, table: tf.Tensor, wanted: tf.Tensor, share: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Mean over rows of the cross-entropy between what is wanted and the softmax of every item's score.

    Args:
        queries: float32 [N, width].
        table: float32 [items, width]; an item's score is its product with the query.
        wanted: int32 [N, K], items; one may stand in a row twice.
        share: float32 [N, K], rows of sum 1.

    Returns:
        float32 [], in nats, with gradients for queries and table.
    """
    scores = tf.matmul(queries, table, transpose_b=True)
    towards = tf.reduce_sum(share * tf.gather(scores, wanted, batch_dims=1), axis=1)
    largest = tf.reduce_max(scores, axis=1, keepdims=True)
    exponentials = tf.exp(scores - largest)
    total = tf.reduce_sum(exponentials, axis=1, keepdims=True)
    loss = tf.reduce_mean((largest + tf.math.log(total))[:, 0] - towards)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None, None]:
        rows, most = tf.shape(wanted)[0], tf.shape(wanted)[1]
        mean = upstream / tf.cast(rows, tf.float32)
        place = tf.stack([tf.repeat(tf.range(rows), most), tf.reshape(wanted, (-1,))], axis=1)
        # Not `tf.tensor_scatter_nd_sub`, which takes ten times as long over single numbers.
        of_scores = tf.sparse.add(
            exponentials * (mean / total),
            tf.SparseTensor(tf.cast(place, tf.int64), tf.reshape(share * -mean, (-1,)), tf.shape(scores, tf.int64)),
        )
        return tf.matmul(of_scores, table), tf.matmul(of_scores, queries, transpose_a=True), None, None

    return loss, gradient
