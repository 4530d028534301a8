"""The gRPC client, and the model server for machines without TensorFlow Serving."""
