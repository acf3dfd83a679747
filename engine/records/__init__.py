"""Persistent records and their state transitions."""
