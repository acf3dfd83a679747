"""Predictions: decoding of rows, adaptive batching, and encoding of outputs."""
