"""Files as people have them: a module per format, each of which gives batches of a table or blocks of an array."""
