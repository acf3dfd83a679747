"""Files as people have them, read in blocks into stored datasets."""
