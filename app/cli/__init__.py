"""The commands of `nabla`, a file per noun. Each is imported when it is called: see lazily."""
