"""`python -m mlxworld VERB ...`, the same as `mlxworld VERB ...`."""

from .cli import run

if __name__ == "__main__":
    run()
