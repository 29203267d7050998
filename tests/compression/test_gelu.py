import numpy as np
import tensorflow as tf
import tf_keras

from compression.gelu import gelu, products_for_powers

X = tf.constant(np.linspace(-6, 6, 1201), tf.float32)


def of_gelu() -> tuple[np.ndarray, np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(X)
        value = gelu(X)
    return value.numpy(), tape.gradient(value, X).numpy()


def test_products_compute_the_same_function_and_slope() -> None:
    shipped = of_gelu()
    with products_for_powers():
        trained = of_gelu()
    for one, other in zip(shipped, trained, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_only_what_is_traced_within_has_no_power() -> None:
    def operations() -> set[str]:
        return {each.type for each in tf.function(gelu).get_concrete_function(X).graph.get_operations()}

    with products_for_powers():
        assert "Pow" not in operations()
    assert "Pow" in operations(), "converters know the form with a power alone"


def test_a_copied_layer_has_it_too() -> None:
    layer = tf_keras.layers.Dense(4, activation=gelu)
    assert tf_keras.layers.Dense.from_config(layer.get_config()).activation is gelu
