"""Files that nobody has thought of: whatever the bytes, reading them ends with a sentence or with a dataset.

pytest tests/fuzz                                   a few files of each format
NABLA_FUZZ_LONG=1 pytest tests/fuzz --timeout 0     thousands
"""
