"""Jobs: the registry, the journal behind it, and the processes that do the work."""
