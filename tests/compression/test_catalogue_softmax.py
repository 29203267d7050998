import numpy as np
import pytest
import tensorflow as tf

from compression.catalogue_softmax import soft_cross_entropy

ROWS, PADDING, ITEMS, WIDTH, WANTED = 7, 2, 30, 5, 4


@pytest.mark.parametrize("scale", [1.0, 60.0])  # of scores whose exponentials float32 cannot hold, too
def test_loss_and_gradients_are_those_of_a_softmax_written_out(scale: float) -> None:
    rng = np.random.default_rng(1)
    queries = tf.constant(scale * rng.normal(size=(ROWS + PADDING, WIDTH)), tf.float32)
    table = tf.constant(rng.normal(size=(ITEMS, WIDTH)), tf.float32)
    wanted = rng.integers(0, ITEMS, (ROWS + PADDING, WANTED)).astype(np.int32)
    wanted[:, 0] = wanted[:, 1]  # what followed is often among the teacher's best
    share = rng.dirichlet(np.ones(WANTED), ROWS + PADDING).astype(np.float32)
    share[ROWS:] = 0.0
    taken = rng.random((ROWS + PADDING, ITEMS)) < 0.3
    np.put_along_axis(taken, wanted, False, 1)
    written_out = np.zeros((ROWS, ITEMS))
    np.add.at(written_out, (np.arange(ROWS)[:, None], wanted[:ROWS]), share[:ROWS])

    def expected(queries: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
        scores = tf.where(
            taken[:ROWS], tf.constant(-np.inf, tf.float64), tf.matmul(queries[:ROWS], table, transpose_b=True)
        )
        return tf.reduce_mean(
            tf.reduce_logsumexp(scores, 1) - tf.reduce_sum(tf.where(taken[:ROWS], 0.0, written_out * scores), 1)
        )

    def shipped(queries: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
        return 3.0 * soft_cross_entropy(queries, table, tf.constant(wanted), tf.constant(share), tf.constant(taken))

    wide = [tf.cast(each, tf.float64) for each in (queries, table)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([queries, table, *wide])
        loss, oracle = shipped(queries, table), 3.0 * expected(*wide)
    np.testing.assert_allclose(loss.numpy(), oracle.numpy(), rtol=1e-5)
    for found, right in zip(tape.gradient(loss, [queries, table]), tape.gradient(oracle, wide), strict=True):
        np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=1e-3, atol=1e-4 * scale)
