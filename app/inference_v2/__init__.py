"""Open Inference Protocol (version 2): models, tensors, and encoding of requests and responses."""
