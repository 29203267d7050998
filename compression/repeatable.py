"""The same inputs train to the same bytes, however busy the machine is."""

import tensorflow as tf


def train_repeatably() -> None:
    """Set TensorFlow, for the whole process, to compute sums in one order.

    Its arithmetic optimizer turns a sum of gradients into an accumulator to which whatever is ready first is added;
    the last bit of a sum then follows the timing, and after a few hundred steps so does the model.
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
