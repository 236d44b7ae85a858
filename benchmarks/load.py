"""What reading a published folder takes of memory: the peak over the weights themselves, one process a row.

    python benchmarks/load.py                     220 M random numbers as a small Qwen2-VL, bfloat16, 4 shards
    python benchmarks/load.py --folder F          a folder that is there

The peak is the most that the process ever held less what it held after all imports (on a GPU the weights leave the
host, whose peak is what is told). `weights` is what the model's own numbers take in the precision that was asked for.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TEXT = {"hidden_size": 896, "intermediate_size": 3584, "num_hidden_layers": 10, "num_attention_heads": 14}
TEXT |= {"num_key_value_heads": 2, "vocab_size": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "hidden_act": "silu"}
TEXT |= {"rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]}, "tie_word_embeddings": False}
VISION = {"depth": 12, "embed_dim": 512, "hidden_size": 896, "num_heads": 8, "mlp_ratio": 4}
CONFIG = {"model_type": "qwen2_vl", **TEXT, "vision_config": VISION, "image_token_id": 5, "video_token_id": 6}
SHARDS = 4


def write(folder: Path) -> None:
    """A folder of that shape with random bfloat16 weights, in shards."""
    import ml_dtypes

    import mlxworld
    from mlxworld.files import checkpoint, pretrained
    from mlxworld.files.weights import Entry, Weights

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    package = mlxworld.on(mlxworld.installed()[0])
    model = pretrained.untrained(folder, package, "bfloat16")
    shapes = {name: tuple(p.shape) for name, p in package.engine.parameters(model).items()}
    rng, kind = np.random.default_rng(0), np.dtype(ml_dtypes.bfloat16)
    entries = {
        name: Entry(shape, kind, lambda shape=shape: (rng.standard_normal(shape, np.float32) * 0.02).astype(kind))
        for name, shape in shapes.items()
    }
    arrays = pretrained.their_weights(Weights(entries), CONFIG, str(folder))
    total = sum(entry.nbytes for entry in arrays.entries.values())
    checkpoint.save(folder / "model.safetensors", arrays, {"format": "pt"}, shard_bytes=-(-total // (SHARDS - 1)))


def held(peak: bool) -> int:
    """Bytes of this process: now, or at most so far."""
    status = Path("/proc/self/status")
    if not status.exists():  # macOS
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    name = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name)) << 10


def measure(folder: Path, backend: str, precision: str, weights: str | None) -> dict:
    """Of one load: bytes of the model's numbers, and of the peak."""
    import mlxworld
    from mlxworld.files import pretrained

    package = mlxworld.on(backend)
    package.engine.numpy(
        package.engine.array(np.ones((64, 64), np.float32)) @ package.engine.array(np.ones(64, np.float32))
    )
    before, begun = held(peak=False), time.perf_counter()
    model = pretrained.load(folder, package, precision, weights).model
    seconds, peak = time.perf_counter() - begun, held(peak=True) - before
    own = sum(int(np.prod(p.shape)) for p in package.engine.parameters(model).values())
    size = own * {"float32": 4}.get(precision, 2)
    return {"weights": size, "peak": peak, "ratio": peak / size, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--row", help="backend,precision,weights: this one alone, as JSON")
    args = parser.parse_args()
    if args.row:
        backend, precision, weights = args.row.split(",")
        print(json.dumps(measure(args.folder, backend, precision, weights or None)))
        return
    import mlxworld

    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch) / "model"
        if args.folder is None:
            write(folder)
        print(f"{'':<16} {'weights':>9} {'peak':>9} {'ratio':>6} {'s':>6}")
        for backend in mlxworld.installed():
            for precision in ("bfloat16", "float32"):
                command = [sys.executable, __file__, "--folder", str(folder), "--row", f"{backend},{precision},"]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                row = json.loads(done.stdout.splitlines()[-1])
                sizes = " ".join(f"{row[name] / 2**20:>5.0f} MiB" for name in ("weights", "peak"))
                print(f"{backend:<5} {precision:<10} {sizes} {row['ratio']:>6.2f} {row['seconds']:>6.1f}")


if __name__ == "__main__":
    main()
