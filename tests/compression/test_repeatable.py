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


SUM = """
import compression
from compression.repeatable import train_repeatably
import tensorflow as tf
from tensorflow.python.eager import context

train_repeatably()

@tf.function
def total(x):
    return tf.sin(x) + tf.exp(x) + tf.tanh(x) + tf.cos(x)

context.context().enable_run_metadata()
total(tf.ones(1000))
graphs = context.context().export_run_metadata().function_graphs
print(sorted({node.op for graph in graphs for node in graph.post_optimization_graph.node if "Add" in node.op}))
"""


def test_a_sum_keeps_the_order_it_is_written_in():
    found = subprocess.run([sys.executable, "-c", SUM], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['AddV2']"  # not one AddN, which starts from whatever is ready first
