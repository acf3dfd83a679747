"""The HTTP service, its command and its client. It owns no mathematics."""

from importlib.metadata import version

__version__ = version("nabla-train")
