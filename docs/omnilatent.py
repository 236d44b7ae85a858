"""python -m docs.omnilatent RUN [--backend torch] [--out table.json]: the table of a model of told scenes.

Held-out scenes of learnt combinations and of new ones; every figure beside shuffled pairs and the reader's ceiling on
real data, and retrieval by latents between every two modalities.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from mlxworld import families, on
from mlxworld.cli import entry
from mlxworld.configs.load import from_dict
from mlxworld.data.pairs.scenes import batch_of, held_out
from mlxworld.evaluate.told import recall_at_1, report
from mlxworld.files import atomic, checkpoint
from mlxworld.files.reading import read_json

ROWS = 25  # of a batch


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--backend", default="torch", choices=("mlx", "torch"))
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    package = on(args.backend)
    path, weights = args.run / "config.json", args.run / "model.safetensors"
    cfg = from_dict(families.config("omnilatent"), read_json(path)["model"], str(path))
    model, engine = families.model(package, cfg.family)(cfg), package.engine
    engine.load_parameters(model, checkpoint.load(weights)[0], str(weights), "float32")
    engine.place(model)

    def batched(fn, data: np.ndarray) -> np.ndarray:
        with engine.inference():
            parts = [engine.numpy(fn(engine.array(data[i : i + ROWS]))) for i in range(0, len(data), ROWS)]
        return np.concatenate(parts).astype(np.float32)

    def translate(source: str, data: np.ndarray, target: str) -> np.ndarray:
        if target == "text":
            return batched(lambda x: model.generate(source, x, cfg.max_text), data).astype(int)
        return batched(lambda x: model(source, x, target)["output"], data)

    table: dict = report(translate, cfg.bands, cfg.max_text, args.scenes)
    batch = batch_of(held_out(args.scenes, False), cfg.bands, cfg.max_text)
    batch |= {m: batch[m].astype(np.float32) / 255 for m in ("image", "video")}
    latents = {m: batched(lambda x, m=m: model.encode(m, x), batch[m]) for m in batch}
    table["recall at 1"] = {
        f"{a} - {b}": recall_at_1(latents[a], latents[b]) for a, b in itertools.combinations(latents, 2)
    }
    print(json.dumps(table, indent=1))
    if args.out:
        atomic.write_text(args.out, json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    entry(main)
