"""Application services of the engine: the operations of the API, on top of the registry and the workers."""
