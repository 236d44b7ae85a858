"""The apps: inside this package where it is installed from a wheel, beside it in a checkout."""

from pathlib import Path

if not (Path(__file__).parent / "play").is_dir():
    __path__.append(str(Path(__file__).parents[2] / "apps"))
