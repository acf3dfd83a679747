"""Ingest of uploaded files into stored datasets, block by block."""
