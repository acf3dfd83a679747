"""The `nabla` command line. Each module has the commands of one resource, and is imported when one is called."""
