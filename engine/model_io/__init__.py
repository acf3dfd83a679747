"""Networks copied out to files that others can read, and in from theirs."""
