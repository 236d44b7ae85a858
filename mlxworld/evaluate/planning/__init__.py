"""Plans made in a dream, carried out in the real environment: `python -m mlxworld.evaluate.planning`."""
