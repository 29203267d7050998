"""TensorFlow, once `compression` is imported, runs one operation at a time: what it sums has one order."""

import subprocess
import sys

PROGRAM = """
import threading
import compression
import tensorflow as tf

meeting = threading.Barrier(2)

def meet(value):
    try:
        meeting.wait(2)
    except threading.BrokenBarrierError:
        return value * 0
    return value

@tf.function
def two(value):
    return [tf.numpy_function(meet, [value + number], tf.float32, stateful=False) for number in (1.0, 2.0)]

print("together" if all(float(result) for result in two(tf.constant(1.0))) else "one after the other")
"""


def test_two_operations_never_run_at_once():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "one after the other"
