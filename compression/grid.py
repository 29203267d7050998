"""The grids that integers lie on, and from which size on a dense layer's weights are worth one."""

from math import ceil, log2

LEVELS = {"int8": 127, "int4": 7}  # symmetric: -127 to 127, -7 to 7
SMALLEST_EXPONENT = -24  # of what float16 holds
SMALLEST_KERNEL = 1024  # elements; a smaller one's weights stay as floats, there is nothing to win


def scale_step(largest: float) -> float:
    """The power of two whose multiples items' scales are, `largest` the largest of them."""
    return 2.0 ** max(ceil(log2(largest / LEVELS["int8"])), SMALLEST_EXPONENT)
