"""Keeps of the oracles' tiny checkpoints what the tests read: `python tests/oracles/keep.py FOLDER`.

Of each family the published layout, its newer configuration and names, and of the reference what is compared.
"""

import json
import shutil
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import load_file, save_file

FAMILIES = ("llava llava_next qwen2_vl gemma3 mllama idefics phi3 cohere nvlm_d phi3_v molmo dinov2 biomedclip").split()
PUBLISHED = ("*.json", "*model.safetensors", "tokenizer.model")
UNUSED = ("hidden.", "image.")  # what is between input and output; pictures that no processor is tested with
HERE = Path(__file__).parent


def keep(source: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    (out / "reference").mkdir(parents=True)
    for path in (path for pattern in PUBLISHED for path in source.glob(pattern)):
        shutil.copy(path, out)
    for path in (source / "reference").glob("*.json"):
        shutil.copy(path, out / "reference")
    arrays = load_file(source / "reference" / "reference.safetensors")
    save_file({n: x for n, x in arrays.items() if wanted(out.name, n)}, out / "reference" / "reference.safetensors")
    if (source / "native").exists():
        (out / "native").mkdir()
        shutil.copy(source / "native" / "config.json", out / "native")
        with safe_open(source / "native" / "model.safetensors", "np") as file:
            (out / "native" / "names.json").write_text(json.dumps(sorted(file.keys()), indent=0) + "\n")


def wanted(family: str, name: str) -> bool:
    if family == "phi3_v":
        return not name.endswith("pixel_values")
    if family == "llava_next":
        return not name.startswith("module.") and (not name.startswith("hidden.") or name == "hidden.0")
    return not name.startswith("hidden.") and not (
        name.startswith("image.") and family in ("qwen2_vl",) and name > "image.1"
    )


if __name__ == "__main__":
    for family in FAMILIES:
        keep(Path(sys.argv[1]) / family, HERE / family)
