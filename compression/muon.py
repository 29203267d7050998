"""Muon for the matrices of a small model: momentum, orthogonalised (Jordan et al. 2024), as PyTorch's for the teacher.

A step moves all directions of a matrix alike, where Adam's follow the few that its gradients share. Its length is
matched to Adam's, so that both take the same rates and schedule (Liu et al. 2025, arXiv:2502.16982).
"""

from typing import Any

import tensorflow as tf
import tf_keras

QUINTIC = (3.4445, -4.7750, 2.0315)  # of Newton-Schulz, which bring singular values near 1 fastest (Jordan et al. 2024)
ITERATIONS = 5
MOMENTUM = 0.95
ADAM_LENGTH = 0.2  # root mean square of what Adam's steps add to a weight, in rates


def orthogonalised(matrix: tf.Tensor) -> tf.Tensor:
    """A matrix of the same singular vectors whose singular values are all near 1."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = tf.transpose(matrix) if tall else matrix
    x /= tf.norm(x) + 1e-7
    for _ in range(ITERATIONS):
        square = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
    return tf.transpose(x) if tall else x


class Muon(tf_keras.optimizers.Optimizer):
    """For variables of two dimensions."""

    def __init__(self, learning_rate: float, decay: float = 0.0) -> None:
        """Make one.

        Args:
            learning_rate: root mean square of a step's entries is `ADAM_LENGTH` times this.
            decay: share of a weight, times the rate, that every step takes away.
        """
        super().__init__(name="muon")
        self._learning_rate = self._build_learning_rate(learning_rate)
        self._decay = decay

    def build(self, var_list: list[tf.Variable]) -> None:
        super().build(var_list)
        if not getattr(self, "momenta", None):
            self.momenta = [self.add_variable_from_reference(each, "momentum") for each in var_list]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        rate = tf.cast(self.learning_rate, variable.dtype)
        momentum = self.momenta[self._index_dict[self._var_key(variable)]]
        momentum.assign(MOMENTUM * momentum + (1.0 - MOMENTUM) * gradient)
        ahead = MOMENTUM * momentum + (1.0 - MOMENTUM) * gradient  # Nesterov's
        length = ADAM_LENGTH * float(max(variable.shape)) ** 0.5
        variable.assign(variable * (1.0 - rate * self._decay) - rate * length * orthogonalised(ahead))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"learning_rate": float(self.learning_rate), "decay": self._decay}
