"""File formats: a module per format, which reads batches of a table or blocks of an array."""
