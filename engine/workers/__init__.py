"""Child processes that train models and run tasks, and the protocols they speak."""
