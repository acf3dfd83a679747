"""Tests that try to make the service lose something."""

import os

LONG = bool(os.environ.get("NABLA_CHAOS_LONG"))
"""Try for as long as it takes to believe it; else as all tests do, for seconds."""
