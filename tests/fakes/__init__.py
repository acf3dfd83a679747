"""A stand-in for CuPy where there is no GPU: it runs what the service hands to CuPy, and refuses what a GPU refuses.

`from tests.fakes import cupy` gives it to a test under a name that leaves the installed CuPy alone; a process with
this folder on its PYTHONPATH gets it for `import cupy`.
"""
