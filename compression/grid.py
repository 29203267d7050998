"""The grids that integers lie on, and from which size on a dense layer's weights are worth one."""

LEVELS = {"int8": 127, "int4": 7}  # symmetric: -127 to 127, -7 to 7
SMALLEST_KERNEL = 1024  # elements; a smaller one's weights stay as floats, there is nothing to win
