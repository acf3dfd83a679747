"""The HTTP service, its command line and its client, on top of the engine."""

from importlib.metadata import version

__version__ = version("nabla-train")
