"""The HTTP service, its command line and its client, on top of the engine."""

# Also of the distributions, which read it here.
__version__ = "0.1.0"
