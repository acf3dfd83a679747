"""The client with an event loop: the one that is written. See the generated one beside it."""
