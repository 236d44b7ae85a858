"""Models, written once. Relative imports bind them to a backend: see `mlxworld.on`."""
