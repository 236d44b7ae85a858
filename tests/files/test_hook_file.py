"""A hook is a small file of its own, the same on the other backend."""

import importlib

import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint, hook_file
from tests.models.omnilatent import tiny


def test_a_hook_taught_on_one_backend_joins_on_the_other(tmp_path):
    path, pictures = tmp_path / "night.safetensors", []
    for backend in tiny.BOTH:
        package, model = tiny.model(backend)
        if path.exists():
            cfg, arrays = hook_file.load(path)
            hook = importlib.import_module(f"{package.__name__}.models.blocks.hooks").LatentNeuralHook(cfg)
            package.engine.load_parameters(hook, dict(arrays), str(path))
        else:
            hook = tiny.hook(package)
            hook_file.save(path, hook.cfg, package.engine.numpy(package.nn.parameters(hook)))
        model.register_hook(hook)
        arrays = package.engine.array(tiny.data())
        pictures.append(package.engine.numpy(model("text", arrays["text"], "image")["output"]))
    assert np.abs(pictures[0] - pictures[1]).max() < 1e-5
    assert path.stat().st_size < 300_000


def test_another_file_is_one_line(tmp_path):
    checkpoint.save(tmp_path / "x.safetensors", {"a": np.zeros(2, np.float32)}, {})
    with pytest.raises(MlxworldError, match="no latent hook"):
        hook_file.load(tmp_path / "x.safetensors")
