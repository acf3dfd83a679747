"""Fuzzing of file formats: whatever the bytes, reading them ends with an error message or with a result.

pytest tests/fuzz                                   a few files of each format
NABLA_FUZZ_LONG=1 pytest tests/fuzz --timeout 0     thousands
"""
