"""Keeps of the oracles' tiny checkpoints what the tests read: `python tests/oracles/keep.py FOLDER`.

Of each family the published layout, its newer configuration and names, and of the reference what is compared.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

FAMILIES = ("llava", "llava_next", "qwen2_vl", "gemma3", "mllama", "idefics", "phi3", "cohere", "nvlm_d", "phi3_v")
FAMILIES += ("molmo", "dinov2", "biomedclip")
PUBLISHED = ("*.json", "*model.safetensors")
LAST = 48  # logits of a prompt of hundreds of tokens
THINNED = 8  # of Phi-3-Vision's pixels every eighth: they are 10 MB
HERE = Path(__file__).parent


def keep(source: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    (out / "reference").mkdir(parents=True)
    for path in (path for pattern in PUBLISHED for path in source.glob(pattern)):
        shutil.copy(path, out)
    if out.name == "llava":
        shutil.copy(source / "tokenizer.model", out)
    for path in (source / "reference").glob("*.json"):
        shutil.copy(path, out / "reference")
    arrays = load_file(source / "reference" / "reference.safetensors")
    arrays = {n: kept(out.name, n, x) for n, x in arrays.items() if wanted(out.name, n)}
    save_file(arrays, out / "reference" / "reference.safetensors")
    if (source / "native").exists():
        (out / "native").mkdir()
        shutil.copy(source / "native" / "config.json", out / "native")
        with safe_open(source / "native" / "model.safetensors", "np") as file:
            (out / "native" / "names.json").write_text(json.dumps(sorted(file.keys()), indent=0) + "\n")


def wanted(family: str, name: str) -> bool:
    """Whether a test reads this of a reference: LLaVA-NeXT's tokens are told by the embeddings alone."""
    return not name.startswith("hidden.") or (family, name) == ("llava_next", "hidden.0")


def kept(family: str, name: str, x: np.ndarray) -> np.ndarray:
    if family == "phi3_v" and name.endswith("pixel_values"):
        return np.ascontiguousarray(x[..., ::THINNED, ::THINNED])
    return np.ascontiguousarray(x[:, -LAST:]) if family in ("phi3_v", "molmo") and name.endswith("logits") else x


if __name__ == "__main__":
    for family in FAMILIES:
        keep(Path(sys.argv[1]) / family, HERE / family)
