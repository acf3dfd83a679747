"""Datasets: reading, checking, storing, and opening them for training."""
