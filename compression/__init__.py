"""The device model and its compression. TensorFlow is loaded only by the modules that need it."""
