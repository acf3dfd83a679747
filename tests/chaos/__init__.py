"""Tests that kill the service and damage its files: nothing that was acknowledged may be lost."""

import os

LONG = bool(os.environ.get("NABLA_CHAOS_LONG"))
"""Whether to run the long form of the tests: thousands of trials, for hours."""
