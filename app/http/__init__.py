"""HTTP transport: errors, limits, headers, idempotency, files and event streams."""
