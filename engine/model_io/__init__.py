"""Import and export of networks as files that other programs can read."""
