"""Child processes that train models and run tasks, and the messages between them and the service."""
