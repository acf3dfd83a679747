"""Transport concerns: errors, limits, headers, files and event streams."""
