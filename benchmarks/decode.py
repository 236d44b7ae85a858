"""Reading and writing words: ours beside transformers and mlx-lm, the same random weights, one process a row.

    python benchmarks/decode.py                        Qwen2-VL-2B's decoder on a GPU, a small one on a CPU
    python benchmarks/decode.py --shape small --rows torch,transformers --batches 1,16

The time of a token is what N + 1 new ones take more than one, over N, the host included; prefill is the rest.
What is not installed is left out. `share` is of the bandwidth roofline: every weight is read once a token, at the rate
of a copy measured in the same run.
"""

import argparse
import importlib
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPES = {
    "2b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12},
    "small": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8},
}
SHAPES["2b"] |= {"num_key_value_heads": 2, "vocab_size": 151936}
SHAPES["small"] |= {"num_key_value_heads": 2, "vocab_size": 16384}
COMMON = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True}
COMMON |= {"max_position_embeddings": 32768, "hidden_act": "silu", "architectures": ["Qwen2ForCausalLM"]}
ROWS = {
    "torch": "ours on PyTorch, one CUDA graph a token on a GPU",
    "torch-compiled": "ours on PyTorch, the step compiled too",
    "transformers": "transformers, eager",
    "transformers-compiled": "transformers, static cache, compiled",
    "mlx": "ours on MLX",
    "mlx-lm": "mlx-lm",
}


def write(folder: Path, shape: str, dtype) -> None:
    """A published folder with random weights."""
    from mlxworld.files import checkpoint

    c, rng = COMMON | SHAPES[shape], np.random.default_rng(0)
    C, F, V = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    kv = C // c["num_attention_heads"] * c["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (V, C), "model.norm.weight": (C,)}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        for name, rows in (("q", C), ("k", kv), ("v", kv)):
            shapes |= {
                f"{layer}.self_attn.{name}_proj.weight": (rows, C),
                f"{layer}.self_attn.{name}_proj.bias": (rows,),
            }
        shapes |= {f"{layer}.self_attn.o_proj.weight": (C, C), f"{layer}.mlp.down_proj.weight": (C, F)}
        shapes |= {f"{layer}.mlp.{name}_proj.weight": (F, C) for name in ("gate", "up")}
        shapes |= {f"{layer}.{name}_layernorm.weight": (C,) for name in ("input", "post_attention")}

    def array(shape):
        if len(shape) == 1:
            return np.ones(shape, dtype)
        return (rng.standard_normal(shape, np.float32) * shape[1] ** -0.5).astype(dtype)

    checkpoint.save(folder / "model.safetensors", {n: array(s) for n, s in shapes.items()}, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(c | {"torch_dtype": np.dtype(dtype).name}))


def ours(folder: Path, backend: str, precision: str, compiled: bool):
    """generate(ids (B, T), n) -> tokens, and the name of the device."""
    import mlxworld
    from mlxworld.files import pretrained
    from mlxworld.text.generate import Generator, Options
    from mlxworld.text.prompt import prompt

    package = mlxworld.on(backend)
    generator = Generator(package, pretrained.load(folder, package, precision).model, compile=compiled)

    def generate(ids, n):
        generator.forget()  # or the second reading of a prompt would cost nothing
        return generator.tokens(prompt(ids.tolist()), None, Options(n))

    return generate, generator.settle, package.engine.device()


def transformers(folder: Path, precision: str, compiled: bool):
    import torch

    there = importlib.import_module("transformers")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = there.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, precision)).to(device).eval()
    if compiled and device == "cpu":
        model.forward = torch.compile(model.forward)

    def generate(ids, n):
        x = torch.tensor(ids, device=device)
        options = {"cache_implementation": "static"} if compiled else {}
        y = model.generate(
            x,
            attention_mask=torch.ones_like(x),
            max_new_tokens=n,
            min_new_tokens=n,
            do_sample=False,
            pad_token_id=0,
            **options,
        )
        return y[:, x.shape[1] :].tolist()

    return generate, lambda: None, device


def mlx_lm(folder: Path, precision: str):
    import mlx.core as mx

    cache, qwen2 = (importlib.import_module(f"mlx_lm.models.{name}") for name in ("cache", "qwen2"))
    config = json.loads((folder / "config.json").read_text())
    model = qwen2.Model(qwen2.ModelArgs.from_dict(config))
    weights = model.sanitize(mx.load(str(folder / "model.safetensors")))
    model.load_weights([(name, x.astype(getattr(mx, precision))) for name, x in weights.items()])
    mx.eval(model.parameters())

    def generate(ids, n):
        """As mlx_lm's own loop: the next step is under way while a token is read."""
        state, y, rows = cache.make_prompt_cache(model), mx.array(ids), []
        y = mx.argmax(model(y, cache=state)[:, -1], axis=-1)
        mx.async_eval(y)
        for i in range(n):
            if i < n - 1:
                following = mx.argmax(model(y[:, None], cache=state)[:, -1], axis=-1)
                mx.async_eval(following)
            rows.append(y.tolist())
            y = following if i < n - 1 else y
        return np.array(rows).T.tolist()

    return generate, lambda: None, str(mx.default_device())


def measure(row: str, folder: Path, precision: str, batch: int, T: int, n: int) -> dict:
    """Seconds of a token and of reading T tokens, and the first tokens, to compare."""
    name, compiled = row.removesuffix("-compiled"), row.endswith("-compiled")
    if name in ("torch", "mlx"):
        generate, settle, device = ours(folder, name, precision, compiled)
    elif name == "transformers":
        generate, settle, device = transformers(folder, precision, compiled)
    else:
        generate, settle, device = mlx_lm(folder, precision)
    ids = np.random.default_rng(1).integers(10, 1000, (batch, T))
    tokens = generate(ids, n + 1)  # records and compiles
    settle()
    generate(ids, n + 1)
    generate(ids, 1)

    def seconds(count):
        best = math.inf
        for _ in range(3):
            begun = time.perf_counter()
            generate(ids, count)
            best = min(best, time.perf_counter() - begun)
        return best

    first, whole = seconds(1), seconds(n + 1)
    return {"row": row, "device": device, "decode_s": (whole - first) / n, "prefill_s": first, "tokens": tokens[0][:16]}


def bandwidth() -> tuple[float, str, str]:
    """Bytes a second of a copy, the device and its name."""
    import mlxworld
    from mlxworld.speed import machine

    engine = mlxworld.on(mlxworld.installed()[-1]).engine
    return machine.copy(engine) * 1e9, engine.device(), machine.chip(engine.device())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--prompt", type=int, default=512, help="tokens that are read")
    parser.add_argument("--new", type=int, default=128, help="tokens that are written")
    parser.add_argument("--limit", type=int, default=300, help="seconds of a row")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--measure", nargs=3, metavar=("ROW", "FOLDER", "BATCH"), help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.measure:
        row, folder, batch = a.measure
        precision = json.loads((Path(folder) / "config.json").read_text())["torch_dtype"]
        print(json.dumps(measure(row, Path(folder), precision, int(batch), a.prompt, a.new)))
        return
    import ml_dtypes

    rate, device, chip = bandwidth()
    shape = a.shape or ("small" if device == "cpu" else "2b")
    dtype = np.float32 if device == "cpu" else ml_dtypes.bfloat16
    figures = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, shape, dtype)
        size = (folder / "model.safetensors").stat().st_size
        print(f"{chip}, {np.dtype(dtype).name}, {shape}: {size / 1e9:.2f} GB, a copy moves {rate / 1e9:.0f} GB/s")
        print(f"{a.prompt} tokens read, {a.new} written\n")
        print(f"{'':24}{'batch':>6}{'decode tok/s':>14}{'ms/token':>10}{'share':>8}{'prefill tok/s':>15}  same words")
        for batch in map(int, a.batches.split(",")):
            words = None
            for row in a.rows.split(","):
                package = "mlx_lm" if row == "mlx-lm" else str(row.split("-")[0])
                if importlib.util.find_spec(package) is None:
                    print(f"{row:24}{batch:>6}  {package} is not installed")
                    continue
                command = [sys.executable, __file__, "--measure", row, str(folder), str(batch)]
                command += ["--prompt", str(a.prompt), "--new", str(a.new)]
                try:
                    done = subprocess.run(command, capture_output=True, text=True, timeout=a.limit)
                except subprocess.TimeoutExpired:
                    print(f"{row:24}{batch:>6}  took more than {a.limit} s")
                    continue
                if done.returncode:
                    print(f"{row:24}{batch:>6}  failed: {done.stderr.strip().splitlines()[-1]}")
                    continue
                m = json.loads(done.stdout.strip().splitlines()[-1]) | {"batch": batch, "shape": shape, "chip": chip}
                m["share"] = size / rate / m["decode_s"]
                words = words or m["tokens"]
                same = next((i for i, (x, y) in enumerate(zip(words, m["tokens"], strict=True)) if x != y), len(words))
                print(
                    f"{row:24}{batch:>6}{batch / m['decode_s']:>14,.0f}{1000 * m['decode_s']:>10.2f}{m['share']:>8.0%}"
                    f"{batch * a.prompt / m['prefill_s']:>15,.0f}  {same} of {len(words)}",
                    flush=True,
                )
                figures.append(m)
    if a.json:
        a.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
