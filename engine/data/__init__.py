"""Datasets: ingest, storage, preprocessing, profiles, splits, and opening them for training."""
