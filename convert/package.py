"""One .mlpackage of several functions, with what it needs to be played: a world's config, its card, its start clips.

A package is Apple's own kind of folder and its own list of items. The functions share weights that are equal. config
and card are the model's user-defined metadata, which Xcode shows; start clips are an item of ours beside the model.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from coremltools.libmodelpackage import ModelPackage

from mlxworld.play.coreml import AUTHOR, STARTS, WORLD

from .mil import ct, tamed
from .parts import Part


def write(path: Path, models: dict[str, Any], made: list[Part], about: dict[str, Any], starts: Path) -> None:
    """models: an ML program for each of the parts `made`, in their order. about: a world's config.json. starts: the
    world's starts.safetensors. path: a new name that ends in .mlpackage."""
    functions = ct.utils.MultiFunctionDescriptor()
    with tempfile.TemporaryDirectory() as folder, tamed():
        for name, model in models.items():
            single = f"{folder}/{name}.mlpackage"
            model.save(single)
            functions.add_function(single, "main", name)
        functions.default_function_name = made[0].name
        ct.utils.save_multifunction(functions, str(path))
    package = ModelPackage(str(path))
    _describe(Path(package.getRootModel().path()), made, about)
    package.addItem(str(starts), STARTS, AUTHOR, "Start clips of the world: z (N, T, K, D), actions (N, T).")


def _describe(path: Path, made: list[Part], about: dict[str, Any]) -> None:
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    functions = {function.name: function for function in spec.description.functions}
    for part in made:
        function = functions[part.name]
        texts = {name: port.about for name, port in part.inputs.items()} | part.outputs
        for feature in (*function.input, *function.output, *function.state):
            feature.shortDescription = texts.get(feature.name, "The past.")
    metadata = spec.description.metadata
    does = "; ".join(f"{part.name}: {part.about}" for part in made)
    metadata.shortDescription = f"{about['name']}, a world with picture and sound. {does}"
    metadata.license = str(about.get("card", {}).get("licence", ""))
    metadata.userDefined[WORLD] = json.dumps(about)
    for name, fact in about.get("card", {}).items():
        metadata.userDefined[f"card.{name}"] = str(fact)
    path.write_bytes(spec.SerializeToString())
