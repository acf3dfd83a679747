"""Training on a GPU with CuPy."""
