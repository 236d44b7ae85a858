"""Ways out of the house: Core ML and Core AI packages, weights in other projects' formats. Inside this package where it
is installed from a wheel, beside it in a checkout."""

from pathlib import Path

if not (Path(__file__).parent / "parts.py").is_file():
    __path__.append(str(Path(__file__).parents[2] / "convert"))
