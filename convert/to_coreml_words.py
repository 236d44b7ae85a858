"""mlxworld convert words --model FOLDER --out NAME.mlpackage: a published decoder as a Core ML package for macOS 15.

Two functions: `embed` (a token's id -> its embedding) and `write` (an embedding and its position -> logits of the next
token; the keys and values of what was before are its state). A picture's features, from elsewhere, go into `write` in
place of embeddings. Weights fp16, int8 or int4; arithmetic is float16, positions' angles float32.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from mlxworld import on
from mlxworld.cli import entry
from mlxworld.errors import MlxworldError
from mlxworld.files import pretrained
from mlxworld.files.output import whole
from torch_backend.stateful import Stateful

from .parts import Part, Port
from .to_coreml import installed

MOST = 2048  # tokens: a Core ML state counts in float16
ABOUT = {
    "ids": "The token (1, 1).",
    "embedding": "An embedding (1, 1, C): of a token, or a feature of a picture.",
    "position": "Its place (1, 1), or its three places (1, 1, 3): time, row and column.",
    "logits": "Logits (1, V) of the next token.",
}


@dataclass(frozen=True)
class WordsConfig:
    model: Path  # a folder as model hubs hold it
    out: Path  # what to write, NAME.mlpackage
    precision: Literal["fp16", "int8", "int4"] = "fp16"  # of weights
    tokens: int = 1024  # of a text at most
    force: bool = False  # replace what is there


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(WordsConfig, args=argv, description=__doc__, prog="mlxworld convert words")
    installed()
    if cfg.out.suffix != ".mlpackage":
        raise MlxworldError(f"--out must end in .mlpackage, not {cfg.out.name!r}")
    if not 1 <= cfg.tokens <= MOST:
        raise MlxworldError(f"--tokens lies in 1 .. {MOST}, not {cfg.tokens}")
    loaded = pretrained.load(cfg.model, on("torch"), "float32")
    with whole(cfg.out, cfg.force, mark="Manifest.json") as path:
        write(path, parts(loaded.model, cfg.tokens), cfg.precision, loaded.published)
    size = sum(p.stat().st_size for p in cfg.out.rglob("*")) / 1e6
    print(f"{cfg.out}: {size:.1f} MB, functions embed and write")


def parts(model, tokens: int) -> list[Part]:
    """The two functions as torch modules. Raises MlxworldError for a decoder that attends to pictures."""
    if not hasattr(model, "parts"):
        raise MlxworldError("this model writes no words")
    try:
        own = model.cpu().eval().requires_grad_(False).parts(tokens)
    except ValueError as error:
        raise MlxworldError(str(error)) from error
    programs = []
    for part in own.values():
        module = Stateful(model, part.state, _call(part))
        inputs = {name: Port(x.clone(), ABOUT[name]) for name, x in part.inputs.items()}
        outputs = {name: ABOUT[name] for name in part.outputs}
        programs.append(Part(part.name, part.about, module, inputs, outputs, module.state()))
    return programs


def _call(part):
    return lambda model, state, **inputs: part.fn(state, *(inputs[name] for name in part.inputs))


def write(path: Path, made: list[Part], precision: str, published: dict) -> None:
    """One package of both functions, which share the table where it makes the logits, too."""
    from . import mil

    functions = mil.ct.utils.MultiFunctionDescriptor()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for part in made:
            model = mil.program(part, precision)
            with mil.tamed():
                model.user_defined_metadata["config.json"] = json.dumps(published)
                model.save(f"{folder}/{part.name}.mlpackage")
            functions.add_function(f"{folder}/{part.name}.mlpackage", "main", part.name)
        functions.default_function_name = "write"
        with mil.tamed():
            mil.ct.utils.save_multifunction(functions, str(path))


if __name__ == "__main__":
    __package__ = __package__ or "mlxworld.convert"
    entry(main)
