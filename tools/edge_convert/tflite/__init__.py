"""float32 TFLite written without TensorFlow."""
