"""A fake CuPy for machines without a GPU: it runs the service's kernels on the host and rejects what a GPU rejects.

`from tests.fakes import cupy` imports it under a name of its own, next to an installed CuPy; in a process with this
directory on its PYTHONPATH, `import cupy` imports it.
"""
