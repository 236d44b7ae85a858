"""python -m docs.omnilatent RUN [--backend torch] [--out table.json]: the table of a model of told scenes.

Held-out scenes of learnt combinations and of new ones; every figure beside shuffled pairs and the reader's ceiling on
real data, and retrieval by latents between every two modalities.
"""

import argparse
import json
from pathlib import Path

from mlxworld import Translator
from mlxworld.cli import entry
from mlxworld.evaluate.latents import alignment
from mlxworld.evaluate.told import report
from mlxworld.files import atomic
from mlxworld.speed.translator import things


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--backend", default="torch", choices=("mlx", "torch"))
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    translator = Translator.load(args.run, args.backend)
    c = translator.config
    table: dict = report(translator.translate, c.bands, c.max_text, args.scenes, translator.tokenizer)
    batch, _ = things(translator, args.scenes)
    table["latents"] = alignment({m: translator.encode(m, x) for m, x in batch.items()})
    print(json.dumps(table, indent=1))
    if args.out:
        atomic.write_text(args.out, json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    entry(main)
