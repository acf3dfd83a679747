"""The in-memory registry, the SQLite journal behind it, and the data directory."""
