"""The client without an event loop, generated from the one in _async."""
