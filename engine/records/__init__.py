"""Records that the journal keeps: frozen dataclasses, and pure functions from one state to the next."""
