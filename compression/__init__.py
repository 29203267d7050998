"""The device model and its compression. TensorFlow is loaded only by the modules that need it."""

import os

# Read when TensorFlow starts. With more threads between operations, AddN sums into whichever input is free first, and
# the same inputs would not give the same bytes; each operation still uses all processors.
os.environ["TF_NUM_INTEROP_THREADS"] = "1"
