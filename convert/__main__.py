"""`mlxworld convert KIND ...`: a world as a Core ML package, a Core AI asset, or other weights."""

import importlib
import sys

from mlxworld.cli import entry
from mlxworld.errors import MlxworldError

KINDS = {
    "coreml": ("to_coreml", "a Core ML package for macOS 15 and later"),
    "words": ("to_coreml_words", "a published language model's decoder as a Core ML package"),
    "coreai": ("to_coreai", "a Core AI asset"),
    "weights": ("weights", "other weights: torch, quantised, and back"),
}


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {kind:<8}  {line}" for kind, (_, line) in KINDS.items()]
        print("\n".join(["usage: mlxworld convert KIND [--help] ...", "", *lines]))
    elif argv[0] not in KINDS:
        raise MlxworldError(f"unknown kind {argv[0]!r}: choose one of {', '.join(KINDS)}")
    else:
        module = importlib.import_module(f"{__package__ or 'mlxworld.convert'}.{KINDS[argv[0]][0]}")
        module.main(argv[1:])


if __name__ == "__main__":
    entry(main)
